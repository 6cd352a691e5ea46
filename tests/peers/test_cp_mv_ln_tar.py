"""cp, mv from another filesystem, ln and tar: the final name from the first byte on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounting import tmpfs
from tests.tool import grows, needs, tool
from tests.watched import Watched, watching, wav

pytestmark = needs("cp", "mv", "ln", "tar", "prlimit")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watching(tmp_path_factory.mktemp("cp"), CESAR_WATCH_SPOOL__RECURSIVE="true") as watched:
        yield watched


def _run(*arguments: str | Path) -> None:
    subprocess.run([*map(str, arguments)], check=True, timeout=50)


def test_cp_that_stalls_half_way_makes_one_job_of_the_full_length(watched: Watched, tmp_path: Path) -> None:
    content = wav(1)
    with tool("cp", "/dev/stdin", watched.inbox / "talk.wav", cwd=tmp_path) as cp:
        cp.feed(content[:30_000])
        found = grows(watched.inbox, "talk.wav")
        watched.waits("being_written")
        watched.passes_over(found)
        cp.feed(content[30_000:])
        cp.ends()
    watched.completes({"talk.wav": content})


def test_folder_that_cp_copies_is_mirrored_and_each_file_is_taken_when_it_is_whole(
    watched: Watched, tmp_path: Path
) -> None:
    """A pipe among the files, which cp reads like one, lasts as long as the test wants."""
    contents = {f"radio/deep/{name}.wav": wav(seed) for seed, name in enumerate("abc", 10)}
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name != "radio/deep/b.wav":
            (tmp_path / name).write_bytes(content)
    slow = contents["radio/deep/b.wav"]
    os.mkfifo(tmp_path / "radio/deep/b.wav")
    with tool("cp", "-r", "--copy-contents", tmp_path / "radio", watched.inbox, cwd=tmp_path) as cp:
        with (tmp_path / "radio/deep/b.wav").open("wb", buffering=0) as pipe:
            pipe.write(slow[:30_000])
            found = grows(watched.inbox, "b.wav")
            watched.waits("being_written")
            watched.passes_over(found)
            pipe.write(slow[30_000:])
        cp.ends()
    watched.completes(contents)


def test_cp_that_keeps_old_times_is_waited_for_like_any_other(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "old.wav").write_bytes(wav(2))
    os.utime(tmp_path / "old.wav", (0, 0))
    _run("cp", "--preserve=all", tmp_path / "old.wav", watched.inbox)
    watched.completes({"old.wav": wav(2)})


def test_file_that_mv_copies_from_another_filesystem_is_transcribed_once(watched: Watched, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "stick", size_kib=8192) as stick:
        contents = {f"moved{seed}.wav": wav(seed, 10.0) for seed in range(20, 25)}
        for name, content in contents.items():
            (stick / name).write_bytes(content)
        _run("mv", *(stick / name for name in contents), watched.inbox)
        watched.completes(contents)
        assert list(stick.iterdir()) == []


def test_half_a_file_that_a_failed_mv_leaves_behind_waits_for_the_next_one(watched: Watched, tmp_path: Path) -> None:
    content = wav(25, 10.0)
    with tmpfs(tmp_path / "stick", size_kib=8192) as stick:
        (stick / "failed.wav").write_bytes(content)
        limited = ["prlimit", "--fsize=100000", "mv", str(stick / "failed.wav"), str(watched.inbox)]
        with tool("env", "--ignore-signal=XFSZ", *limited, cwd=tmp_path) as mv:
            assert mv.process.wait(50) == 1
        half = watched.inbox / "failed.wav"
        assert 0 < half.stat().st_size < len(content)
        watched.waits("short")
        _run("mv", "--force", stick / "failed.wav", watched.inbox)
        watched.completes({"failed.wav": content})


def test_hard_link_is_transcribed_and_its_other_name_stays_as_it_was(watched: Watched, tmp_path: Path) -> None:
    original = tmp_path / "library.wav"
    original.write_bytes(wav(3))
    before = os.stat(original)
    _run("ln", original, watched.inbox / "linked.wav")
    watched.completes({"linked.wav": wav(3)})
    after = os.stat(original)
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
    assert original.read_bytes() == wav(3)


def test_hard_link_to_a_file_that_is_still_being_written_waits_for_its_writer(watched: Watched, tmp_path: Path) -> None:
    content = wav(4)
    with (tmp_path / "growing.wav").open("wb", buffering=0) as writer:
        writer.write(content[:30_000])
        _run("ln", tmp_path / "growing.wav", watched.inbox)
        watched.waits("being_written")
        watched.passes_over(watched.inbox / "growing.wav")
        writer.write(content[30_000:])
    watched.completes({"growing.wav": content})


def test_symbolic_link_is_never_followed(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.wav").write_bytes(wav(5))
    link = watched.inbox / "symbolic.wav"
    _run("ln", "--symbolic", tmp_path / "elsewhere.wav", link)
    watched.passes_over(link)
    watched.completes({})
    assert link.is_symlink()
    assert (tmp_path / "elsewhere.wav").read_bytes() == wav(5)
    link.unlink()


def test_archive_that_tar_unpacks_slowly_gives_each_recording_once(watched: Watched, tmp_path: Path) -> None:
    contents = {f"tape{seed}.wav": wav(seed) for seed in range(30, 33)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (10**9, 10**9))
    _run("tar", "--create", "--file", tmp_path / "tapes.tar", "--directory", tmp_path, *contents)
    packed = (tmp_path / "tapes.tar").read_bytes()
    with tool("tar", "--extract", "--file", "-", cwd=watched.inbox, log=tmp_path / "tar.log") as tar:
        tar.feed(packed[: len(packed) // 2])
        found = grows(watched.inbox, "tape31.wav")
        watched.waits("being_written")
        watched.passes_over(found)
        tar.feed(packed[len(packed) // 2 :])
        tar.ends()
    watched.completes(contents)
