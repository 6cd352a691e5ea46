"""Two starts on one state directory: the second is refused and has touched nothing; a dead first is in nobody's way."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.processes import alive, checkpointed_windows, children, command, drop, phase, service, sidecar, until

QUICK = {"CESAR_WATCH_SPOOL__QUIET_S": "0.3"}
SHORT_WINDOWS = {**QUICK, "CESAR_WATCH_ENGINE__WINDOW_S": "30"}


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A spool made by the command, in the folder `spool` below the working directory."""
    made = command("init", "spool", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    return tmp_path / "spool"


class Entry(NamedTuple):
    """All that can be seen of a name without reading it, and its content."""

    mode: int
    inode: int
    links: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    content: bytes


def _listing(root: Path) -> dict[str, Entry]:
    listed = {}
    for path in (root, *root.rglob("*")):
        stat = os.lstat(path)
        content = path.read_bytes() if path.is_file() else b""
        fields = (stat.st_mode, stat.st_ino, stat.st_nlink, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        listed[str(path.relative_to(root))] = Entry(*fields, content)
    return listed


@pytest.mark.parametrize("verb", ["run", "drain"])
def test_second_start_on_one_state_directory_exits_4_and_has_changed_nothing(spool: Path, verb: str) -> None:
    drop("numbers.wav", spool / "inbox")
    with service(spool.parent, **QUICK) as first:
        until(lambda: sidecar(spool, "numbers").get("status") == "completed", "the transcript")
        until(lambda: not list((spool / "processing").glob("*/*")), "the end of the job")
        before = _listing(spool)
        second = command(verb, cwd=spool.parent, **QUICK)
        assert second.returncode == 4
        assert "already runs" in second.stderr
        assert _listing(spool) == before
        assert first.poll() is None


def test_second_start_is_refused_although_the_state_directory_was_emptied(spool: Path) -> None:
    with service(spool.parent, **QUICK):
        until(lambda: phase(spool) == "ready", "the service")
        for path in (spool / ".state").iterdir():
            path.unlink()
        second = command("run", cwd=spool.parent, **QUICK)
        assert second.returncode == 4
        assert list((spool / ".state").iterdir()) == []


def test_start_beside_the_stopped_engine_of_a_killed_service_works_at_once(spool: Path) -> None:
    drop("meeting.m4a", spool / "inbox")
    with service(spool.parent, **SHORT_WINDOWS) as first:
        until(lambda: checkpointed_windows(spool), "the first window")
        (engine,) = children(first.pid)
        _stop(engine)
        first.kill()
    with _ended(engine), service(spool.parent, **SHORT_WINDOWS) as second:
        until(lambda: phase(spool, second.pid) == "ready", "the second service")
        assert alive(engine)
        until(lambda: checkpointed_windows(spool) > 1, "the next window")


def test_start_beside_the_hanging_notice_of_a_killed_service_works_at_once(spool: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        with (spool / "config.toml").open("a") as config:
            config.write(f'\n[[notify]]\nurl = "json://127.0.0.1:{deaf.getsockname()[1]}/"\n')
        drop("numbers.wav", spool / "inbox")
        with service(spool.parent, **QUICK) as first:
            deaf.settimeout(50)
            with deaf.accept()[0]:
                (sender,) = [pid for pid in children(first.pid) if b"send_main" in _command_line(pid)]
                _stop(sender)
                first.kill()
        with _ended(sender), service(spool.parent, **QUICK) as second:
            until(lambda: phase(spool, second.pid) == "ready", "the second service")
            assert alive(sender)


def _stop(pid: int) -> None:
    """Stop a process, and wait until all its threads stand."""
    os.kill(pid, signal.SIGSTOP)
    threads = Path(f"/proc/{pid}/task")
    until(
        lambda: all(path.read_text().rpartition(")")[2].split()[0] == "T" for path in threads.glob("*/stat")),
        "the stop",
    )


def _command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@contextlib.contextmanager
def _ended(pid: int) -> Iterator[None]:
    """See that a process of the test does not outlive it."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
