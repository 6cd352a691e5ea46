"""The real command in real processes, and a loopback endpoint that collects notices."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cesar_watch

RECORDINGS = Path(cesar_watch.__file__).parent / "assets" / "demo" / "recordings"
COMMAND = [sys.executable, "-m", "cesar_watch"]
LIMIT_S = 50.0


def until(condition: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> Any:
    """Wait for a condition of another process; return its value, or fail saying what did not come."""
    end_s = time.monotonic() + limit_s
    never = threading.Event()
    while time.monotonic() < end_s:
        value = condition()
        if value:
            return value
        never.wait(0.05)
    raise AssertionError(f"{what} did not come within {limit_s:.0f} s")


def environment(**settings: str) -> dict[str, str]:
    """Return an environment without a trace of the caller's own configuration."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CESAR_WATCH_", "NOTIFY_"))}
    source = str(Path(cesar_watch.__file__).parent.parent)
    return {**kept, "PYTHONPATH": source, "HOME": "/nonexistent", "COLUMNS": "80", **settings}


def command(*args: str | Path, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `cesar-watch` to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, args)],
        cwd=cwd,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@contextlib.contextmanager
def service(cwd: Path, *args: str, prefix: Sequence[str] = (), **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `cesar-watch run` beside the test, its log in `service.log`; killed at the end if it still runs.

    Args:
        prefix: A program that runs it, with its options; it must give it its own process.
    """
    with (cwd / "service.log").open("ab") as log:
        process = subprocess.Popen(
            [*prefix, *COMMAND, "run", *args], cwd=cwd, env=environment(**settings), stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def drop(recording: str, inbox: Path, name: str | None = None) -> None:
    """Drop a bundled recording as a careful sender does."""
    name = name or recording
    arriving = inbox / f".{name}.arriving"
    arriving.write_bytes((RECORDINGS / recording).read_bytes())
    arriving.rename(inbox / name)


def words(text: str) -> list[str]:
    """Return a text's words, without case and punctuation."""
    return re.findall(r"[a-z0-9']+", text.lower())


def expected_words(recording: str) -> list[str]:
    """Return the words that are spoken in a bundled recording."""
    return words((RECORDINGS / recording).with_suffix(".expected.txt").read_text(encoding="utf-8"))


def word_error_rate(heard: list[str], spoken: list[str]) -> float:
    """Return (substitutions + deletions + insertions) / words spoken (Levenshtein distance over words)."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(spoken, 1):
        left_above, row[0] = row[0], number
        for column, other in enumerate(heard, 1):
            above = row[column]
            row[column] = min(above + 1, row[column - 1] + 1, left_above + (word != other))
            left_above = above
    return row[-1] / len(spoken)


def sidecar(spool: Path, base: str) -> dict[str, Any]:
    """Return a sidecar's fields; empty while there is none."""
    path = spool / "outbox" / f"{base}.status.json"
    fields: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    return fields


def phase(spool: Path, of: int | None = None) -> str:
    """Return what the service last told of itself: "starting", "ready" ...; empty before its first word.

    Args:
        of: The service's process id, where an earlier one may have left its last word.
    """
    path = spool / ".state/service.json"
    told = json.loads(path.read_bytes()) if path.exists() else {}
    return str(told["phase"]) if told and of in (None, told["pid"]) else ""


def checkpointed_windows(spool: Path) -> int:
    """Count the windows of unfinished jobs that are durable: a header line, then a line a window."""
    paths = (spool / "processing").glob("*/*/.cesar-checkpoint.jsonl")
    return sum(path.read_bytes().count(b"\n") - 1 for path in paths)


def children(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(child) for child in listed.stdout.split()]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    return run_state(pid) not in ("", "Z")


def run_state(pid: int) -> str:
    """Return the letter of a process's state (proc(5)): T is stopped, Z has ended; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


@contextlib.contextmanager
def json_endpoint() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Listen on loopback for apprise's `json://`; yield its URL and the list that messages are added to."""
    messages: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output clean."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"json://127.0.0.1:{server.server_port}/", messages
        finally:
            server.shutdown()
            thread.join()
