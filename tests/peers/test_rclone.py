"""rclone into the inbox: copied, streamed, and as a WebDAV server that others upload to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import until
from tests.tool import grows, needs, tool
from tests.watched import Watched, watching, wav

pytestmark = needs("rclone")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watching(tmp_path_factory.mktemp("rclone")) as watched:
        yield watched


@pytest.fixture
def rclone(tmp_path: Path) -> list[str]:
    """The program, with settings of its own."""
    (tmp_path / "rclone.conf").touch()
    return ["rclone", "--config", str(tmp_path / "rclone.conf"), "--cache-dir", str(tmp_path / "cache")]


def test_copy_that_stalls_half_way_makes_one_job_whatever_it_is_called_until_then(
    watched: Watched, tmp_path: Path, rclone: list[str]
) -> None:
    """Older versions write in place, newer ones under a name that ends in `.partial`."""
    content = wav(1, 40.0)
    (tmp_path / "talk.wav").write_bytes(content)
    with tool(*rclone, "copy", "--bwlimit", "500k", tmp_path / "talk.wav", watched.inbox, cwd=tmp_path) as copy:
        found = grows(watched.inbox, "talk.wav*")
        with copy.stopped():
            watched.passes_over(found)
        copy.ends()
    watched.completes({"talk.wav": content})


def test_name_that_newer_versions_give_to_unfinished_files_is_never_claimed(watched: Watched) -> None:
    part = watched.inbox / "later.wav.a1b2c3d4.partial"
    part.write_bytes(wav(2))
    watched.passes_over(part)
    part.rename(watched.inbox / "later.wav")
    watched.completes({"later.wav": wav(2)})


def test_stream_that_stalls_makes_one_job_of_the_full_length(
    watched: Watched, tmp_path: Path, rclone: list[str]
) -> None:
    content = wav(3, 20.0)
    arguments = [*rclone, "rcat", "--streaming-upload-cutoff", "1", str(watched.inbox / "stream.wav")]
    with tool(*arguments, cwd=tmp_path) as rcat:
        rcat.feed(content[:400_000])
        found = grows(watched.inbox, "stream.wav*")
        watched.passes_over(found)
        rcat.feed(content[400_000:])
        rcat.ends()
    watched.completes({"stream.wav": content})


@needs("curl")
def test_upload_to_its_webdav_server_that_stalls_makes_one_job_of_the_full_length(
    watched: Watched, tmp_path: Path, rclone: list[str]
) -> None:
    content, log = wav(4, 20.0), tmp_path / "webdav.log"
    arguments = [*rclone, "--verbose", "serve", "webdav", "--addr", "127.0.0.1:0", str(watched.inbox)]
    with tool(*arguments, cwd=tmp_path, log=log):
        url = until(lambda: re.search(r"http://127\.0\.0\.1:\d+/", log.read_text()), "the server").group()
        with tool("curl", "--silent", "--fail", "--upload-file", "-", f"{url}dav.wav", cwd=tmp_path) as curl:
            curl.feed(content[:400_000])
            found = grows(watched.inbox, "dav.wav*")
            watched.passes_over(found)
            curl.feed(content[400_000:])
            curl.ends()
        watched.completes({"dav.wav": content})
