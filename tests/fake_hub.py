"""A hub on loopback that speaks as much of the real one's language as its client needs to fetch a model."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cesar_watch.speech.models import DEMO_DIR

COMMIT = "0123456789012345678901234567890123456789"
NEEDED = ("config.json", "model.bin", "preprocessor_config.json", "tokenizer.json", "vocabulary.json")


@dataclass
class FakeHub:
    """What the hub has, how it behaves, and what it was asked for.

    Attributes:
        files: Of the one repository that there is.
        breaks_after: Bytes of an answer after which the connection breaks, once.
        stalls_after: The same, but nothing more comes, for ever.
        asked: Method, path and first byte of each request, in order.
    """

    repository: str
    files: dict[str, bytes]
    url: str = ""
    breaks_after: int | None = None
    stalls_after: int | None = None
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)

    def begun_at(self, name: str) -> list[int]:
        """Return from which byte on a file was asked for, each time."""
        return [start for method, path, start in self.asked if method == "GET" and path.endswith(f"/{name}")]

    def tree(self) -> list[dict[str, Any]]:
        """Return the list of files as the hub's API has it."""
        entries: list[dict[str, Any]] = []
        for name, content in self.files.items():
            entry = {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            if name == "model.bin":
                entry["lfs"] = {"oid": etag(name, content), "size": len(content), "pointerSize": 1}
            entries.append(entry)
        return entries


def etag(name: str, content: bytes) -> str:
    """Large files are known by their SHA-256, small ones as git knows them."""
    return (hashlib.sha256 if name == "model.bin" else hashlib.sha1)(content).hexdigest()


def demo_files(weights_bytes: int = 0) -> dict[str, bytes]:
    """Return the bundled model's files, the weights made longer by bytes that say nothing."""
    files = {name: (DEMO_DIR / name).read_bytes() for name in NEEDED}
    files["model.bin"] += bytes(range(256)) * (weights_bytes // 256)
    return files | {"README.md": b"# not needed\n"}


@contextlib.contextmanager
def fake_hub(repository: str, files: dict[str, bytes]) -> Iterator[FakeHub]:
    """Serve one repository until the end of the block."""
    hub = FakeHub(repository, files)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            with contextlib.suppress(ConnectionError):  # the client was killed
                self._answer()

        def _answer(self) -> None:
            start = int((re.findall(r"bytes=(\d+)-", self.headers.get("Range", "")) or ["0"])[0])
            path = self.path.partition("?")[0]
            hub.asked.append((self.command, path, start))
            about = f"/api/models/{hub.repository}"
            if path.startswith(f"{about}/revision/"):
                files = [{"rfilename": name} for name in hub.files]
                self._json({"id": hub.repository, "sha": COMMIT, "siblings": files})
            elif path.startswith(f"{about}/tree/"):
                self._json(hub.tree())
            elif path.startswith(f"/{hub.repository}/resolve/"):
                self._file(path.rpartition("/")[2], start)
            else:
                self._missing("RepoNotFound")

        def _json(self, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _missing(self, code: str) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _file(self, name: str, start: int) -> None:
            if name not in hub.files:
                self._missing("EntryNotFound")
                return
            content = hub.files[name]
            self.send_response(206 if start else 200)
            self.send_header("ETag", f'"{etag(name, content)}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if self.command == "GET":
                self._send(content[start:])

        def _send(self, content: bytes) -> None:
            if hub.breaks_after is not None and len(content) > hub.breaks_after:
                content, hub.breaks_after = content[: hub.breaks_after], None
            if hub.stalls_after is not None and len(content) > hub.stalls_after:
                self.wfile.write(content[: hub.stalls_after])
                hub.stalled.set()
                hub.closing.wait()
                return
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output clean."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            hub.closing.set()
            server.shutdown()
            thread.join()
