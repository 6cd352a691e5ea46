"""curl downloads into the inbox, under the final name, from a server that stalls or hangs up."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.tool import grows, needs, tool
from tests.watched import Watched, au, watching, wav

pytestmark = needs("curl")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watching(tmp_path_factory.mktemp("curl")) as watched:
        yield watched


@dataclass
class Server:
    """Sends half of the content, and waits; then sends the rest, or hangs up. Who asks for the rest gets it."""

    content: bytes
    hangs_up: bool = False
    may_go_on: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    @contextlib.contextmanager
    def serving(self) -> Iterator[Server]:
        stalling = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                begin = int(self.headers.get("Range", "bytes=0-")[len("bytes=") : -1])
                left = stalling.content[begin:]
                self.send_response(206 if begin else 200)
                self.send_header("Content-Length", str(len(left)))
                if begin:
                    end = len(stalling.content)
                    self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{end}")
                self.end_headers()
                first = len(left) if begin else len(left) // 2
                self.wfile.write(left[:first])
                self.wfile.flush()
                if not begin:
                    stalling.may_go_on.wait(50)
                    self.wfile.write(b"" if stalling.hangs_up else left[first:])

            def log_message(self, format: str, *args: object) -> None:
                """Keep the test's output clean."""

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            self.url = f"http://127.0.0.1:{server.server_port}/"
            try:
                yield self
            finally:
                self.may_go_on.set()
                server.shutdown()
                thread.join()


@pytest.mark.parametrize(("name", "content"), [("talk.wav", wav(1)), ("talk.au", au(2, 2.0))])
def test_download_from_a_server_that_stalls_makes_one_job_of_the_full_length(
    watched: Watched, tmp_path: Path, name: str, content: bytes
) -> None:
    target = watched.inbox / name
    with (
        Server(content).serving() as server,
        tool("curl", "--silent", "--output", target, server.url, cwd=tmp_path) as curl,
    ):
        found = grows(watched.inbox, name)
        watched.waits("being_written")
        watched.passes_over(found)
        server.may_go_on.set()
        curl.ends()
    watched.completes({name: content})


def test_download_that_broke_off_waits_until_it_is_continued(watched: Watched, tmp_path: Path) -> None:
    target = watched.inbox / "broken.wav"
    with Server(wav(3), hangs_up=True).serving() as server:
        server.may_go_on.set()
        with tool("curl", "--silent", "--output", target, server.url, cwd=tmp_path) as curl:
            assert curl.process.wait(50) == 18
        watched.waits("short")
        watched.passes_over(target)
        with tool("curl", "--silent", "--continue-at", "-", "--output", target, server.url, cwd=tmp_path) as curl:
            curl.ends()
    watched.completes({"broken.wav": wav(3)})


def test_empty_file_that_a_download_begins_with_waits_for_its_first_byte(watched: Watched, tmp_path: Path) -> None:
    """As browsers do, which hold the final name with an empty file while they write another one."""
    (watched.inbox / "reserved.wav").touch()
    watched.waits("empty")
    (watched.inbox / "reserved.wav.part").write_bytes(wav(4)[:20_000])
    watched.passes_over(watched.inbox / "reserved.wav.part")
    (watched.inbox / "reserved.wav.part").write_bytes(wav(4))
    (watched.inbox / "reserved.wav.part").rename(watched.inbox / "reserved.wav")
    watched.completes({"reserved.wav": wav(4)})
