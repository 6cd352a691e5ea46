"""rsync into the inbox: its temporary names, its writing in place, its daemon, and what it leaves half-done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import sidecar, until
from tests.tool import Tool, grows, needs, tool
from tests.watched import Watched, watching, wav

pytestmark = needs("rsync")
HALF = 200 << 10
"""rsync writes a file in parts of 256 KiB."""
SLOW = "--bwlimit=400"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watching(tmp_path_factory.mktemp("rsync")) as watched:
        yield watched


def _source(folder: Path, name: str, seed: int) -> tuple[Path, bytes]:
    path = folder / name
    path.write_bytes(wav(seed, 20.0))
    return path, path.read_bytes()


@pytest.mark.parametrize(
    ("seed", "options"),
    [(1, []), (2, ["--times", "--partial-dir=.rsync-partial"]), (3, ["--archive", "--partial"])],
    ids=["default", "partial-dir", "partial"],
)
def test_half_a_file_under_the_name_that_rsync_gives_it_is_never_claimed(
    watched: Watched, tmp_path: Path, seed: int, options: list[str]
) -> None:
    source, content = _source(tmp_path, f"talk{seed}.wav", seed)
    with tool("rsync", SLOW, *options, source, f"{watched.inbox}/", cwd=tmp_path) as rsync:
        found = grows(watched.inbox, f".{source.name}.*", HALF)
        with rsync.stopped():
            watched.passes_over(found)
        rsync.ends()
        watched.completes({source.name: content})


def test_files_that_rsync_keeps_in_a_folder_until_all_are_there_are_taken_when_it_moves_them(
    watched: Watched, tmp_path: Path
) -> None:
    first, whole = _source(tmp_path, "delayed1.wav", 9)
    second, content = _source(tmp_path, "delayed2.wav", 10)
    options = [SLOW, "--archive", "--delay-updates"]
    with tool("rsync", *options, first, second, f"{watched.inbox}/", cwd=tmp_path) as rsync:
        grows(watched.inbox, ".delayed2.wav.*", HALF)
        with rsync.stopped():
            watched.passes_over(watched.inbox / ".~tmp~/delayed1.wav")
        rsync.ends()
        watched.completes({"delayed1.wav": whole, "delayed2.wav": content})


def test_file_that_rsync_writes_in_place_waits_for_its_end(watched: Watched, tmp_path: Path) -> None:
    source, content = _source(tmp_path, "inplace.wav", 5)
    with tool("rsync", SLOW, "--inplace", source, f"{watched.inbox}/", cwd=tmp_path) as rsync:
        found = grows(watched.inbox, "inplace.wav", HALF)
        with rsync.stopped():
            watched.waits("being_written")
            watched.passes_over(found)
        rsync.ends()
        watched.completes({"inplace.wav": content})


def _broken_off(rsync: Tool, found: Path) -> None:
    with rsync.stopped():
        assert found.exists()
    rsync.process.terminate()
    assert rsync.process.wait(50) == 20


def test_half_a_file_that_a_broken_off_rsync_leaves_under_the_final_name_waits_for_the_next_one(
    watched: Watched, tmp_path: Path
) -> None:
    source, content = _source(tmp_path, "again.wav", 6)
    with tool("rsync", SLOW, "--partial", source, f"{watched.inbox}/", cwd=tmp_path) as rsync:
        _broken_off(rsync, grows(watched.inbox, ".again.wav.*", HALF))
    half = grows(watched.inbox, "again.wav", 0)
    assert half.stat().st_size < len(content)
    watched.waits("short")
    with tool("rsync", "--partial", source, f"{watched.inbox}/", cwd=tmp_path) as rsync:
        rsync.ends()
    watched.completes({"again.wav": content})


def test_file_from_an_rsync_daemon_is_transcribed_once(watched: Watched, tmp_path: Path) -> None:
    """The daemon is given the connection by its client, so that it needs no port."""
    config = tmp_path / "rsyncd.conf"
    config.write_text(
        f"use chroot = no\n[inbox]\npath = {watched.inbox}\nread only = no\nuid = {os.getuid()}\ngid = {os.getgid()}\n"
    )
    source, content = _source(tmp_path, "daemon.wav", 7)
    connect = f"rsync --server --daemon --config={config} ."
    with tool("rsync", SLOW, source, "rsync://localhost/inbox/", cwd=tmp_path, RSYNC_CONNECT_PROG=connect) as rsync:
        found = grows(watched.inbox, ".daemon.wav.*", HALF)
        with rsync.stopped():
            watched.passes_over(found)
        rsync.ends()
        watched.completes({"daemon.wav": content})


def test_file_that_rsync_sends_a_second_time_because_it_was_taken_away_is_no_second_transcript(
    watched: Watched, tmp_path: Path
) -> None:
    source, content = _source(tmp_path, "twice.wav", 8)
    for copies in (1, 2):
        with tool("rsync", "--archive", source, f"{watched.inbox}/", cwd=tmp_path) as rsync:
            rsync.ends()
        if copies == 1:
            watched.completes({"twice.wav": content})
    again = until(lambda: sidecar(watched.spool, "twice.wav"), "the second claim")
    until(lambda: sidecar(watched.spool, "twice.wav").get("status") == "duplicate", "what became of the second one")
    assert again["source"]["name"] == "twice.wav"
    assert not (watched.spool / "outbox/twice.wav.txt").exists()
    watched.dropped["twice.wav (again)"] = content
