"""Marker mode: what the sender of a recording says of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cesar_watch.intake.ready import Promise, promise_of


def put(path: Path, content: bytes = b"", *, after: Path | None = None) -> Path:
    """Make a file or change it, behind the last change of another by the kernel's own clock, which is a coarse one."""
    path.write_bytes(content)
    while after is not None and path.lstat().st_ctime_ns <= after.lstat().st_ctime_ns:
        os.utime(path)
    return path


def promise(recording: Path, ending: str = ".ok") -> Promise:
    return promise_of(recording, recording.lstat(), ending)


def test_recording_without_marker_mode_is_not_asked_for_one(tmp_path: Path) -> None:
    assert promise(put(tmp_path / "talk.mp3"), ending="") is Promise.NOT_ASKED


def test_recording_without_its_marker_has_no_promise(tmp_path: Path) -> None:
    talk = put(tmp_path / "talk.mp3")
    for other in ("talk.ok", "talk.wav.ok", "other.mp3.ok", "talk.mp3.done", "talk.mp3.ok.tmp"):
        put(tmp_path / other, after=talk)
    assert promise(talk) is Promise.MISSING


@pytest.mark.parametrize("content", [b"", b"d41d8cd98f00b204e9800998ecf8427e  talk.mp3\n"])
def test_marker_made_behind_the_recording_promises_that_it_is_whole(tmp_path: Path, content: bytes) -> None:
    talk = put(tmp_path / "talk.mp3")
    put(tmp_path / "talk.mp3.ok", content)
    assert promise(talk) is Promise.GIVEN


def test_marker_that_came_before_the_recording_promises_nothing_of_it(tmp_path: Path) -> None:
    marker = put(tmp_path / "talk.mp3.ok")
    assert promise(put(tmp_path / "talk.mp3", after=marker)) is Promise.EARLIER


def test_marker_made_again_behind_a_change_promises_that_it_is_whole(tmp_path: Path) -> None:
    marker = put(tmp_path / "talk.mp3.ok")
    talk = put(tmp_path / "talk.mp3", after=marker)
    put(marker, after=talk)
    assert promise(talk) is Promise.GIVEN


def test_marker_is_judged_by_the_kernels_times_not_by_those_a_sync_tool_sets(tmp_path: Path) -> None:
    marker = put(tmp_path / "talk.mp3.ok")
    talk = put(tmp_path / "talk.mp3", after=marker)
    os.utime(talk, (0, 0))
    assert promise(talk) is Promise.EARLIER


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/hostname")])
def test_marker_that_is_no_file_counts_as_none(tmp_path: Path, make: object) -> None:
    assert callable(make)
    talk = put(tmp_path / "talk.mp3")
    make(tmp_path / "talk.mp3.ok")
    assert promise(talk) is Promise.MISSING


def test_marker_of_a_name_that_has_no_room_for_it_is_cut(tmp_path: Path) -> None:
    talk = put(tmp_path / ("ü" * 125 + ".mp3"))
    assert promise(talk) is Promise.MISSING


def test_marker_of_a_name_that_is_not_utf_8_is_found(tmp_path: Path) -> None:
    talk = put(tmp_path / os.fsdecode(b"t\xe4lk\n.mp3"))
    put(tmp_path / os.fsdecode(b"t\xe4lk\n.mp3.ok"))
    assert promise(talk) is Promise.GIVEN
