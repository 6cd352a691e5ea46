"""Looking into a recording before it is touched: it never blocks, follows nothing, and says whose fault it is."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from cesar_watch.core.errors import AttemptError, Unfinished
from cesar_watch.core.job import FileIdentity
from cesar_watch.intake.probe import COMPLETE, UNKNOWN, Short, Verdict
from cesar_watch.intake.whole import examine
from tests.sounds import silence, voice, write_wav


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "talk.wav", voice(2.0))


def look_into(path: Path, *, is_remote: bool = False) -> Verdict:
    return examine(path, FileIdentity.of(path.lstat()), is_remote=is_remote)


def test_examine_of_a_whole_recording_says_so(talk: Path) -> None:
    assert look_into(talk) == COMPLETE


def test_examine_of_a_cut_recording_says_what_is_missing(talk: Path) -> None:
    os.truncate(talk, 1000)

    assert look_into(talk) == Short(64_044, 1000)


def test_examine_of_a_recording_that_ends_in_silence_leaves_it_to_the_quiet_window(tmp_path: Path) -> None:
    assert look_into(write_wav(tmp_path / "talk.wav", silence(2.0))) == UNKNOWN


def test_examine_of_a_recording_that_is_open_for_writing_beats_its_completeness(talk: Path) -> None:
    with talk.open("ab"), pytest.raises(Unfinished) as raised:
        look_into(talk)

    assert raised.value.reason == "being_written"


def test_examine_on_a_share_does_not_ask_the_kernel_who_writes(talk: Path) -> None:
    with talk.open("ab"):
        assert look_into(talk, is_remote=True) == COMPLETE


def test_examine_of_a_recording_that_changed_meanwhile_says_so(talk: Path) -> None:
    seen = FileIdentity.of(talk.lstat())
    with talk.open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(Unfinished) as raised:
        examine(talk, seen, is_remote=False)

    assert raised.value.reason == "changed"


def test_examine_of_a_recording_that_is_gone_is_the_callers_affair(talk: Path) -> None:
    seen = FileIdentity.of(talk.lstat())
    talk.unlink()
    with pytest.raises(FileNotFoundError):
        examine(talk, seen, is_remote=False)


def test_examine_of_a_link_in_a_recordings_place_does_not_follow_it(talk: Path) -> None:
    seen = FileIdentity.of(talk.lstat())
    talk.rename(talk.with_name("other.wav"))
    talk.symlink_to("other.wav")
    with pytest.raises(AttemptError) as raised:
        examine(talk, seen, is_remote=False)

    assert raised.value.reason == "not_readable"


@pytest.mark.timeout(10)
def test_examine_of_a_pipe_or_socket_in_a_recordings_place_does_not_wait_for_it(talk: Path) -> None:
    seen = FileIdentity.of(talk.lstat())
    talk.unlink()
    os.mkfifo(talk)
    with pytest.raises(Unfinished):
        examine(talk, seen, is_remote=False)
    talk.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(talk))
        with pytest.raises(AttemptError):
            examine(talk, seen, is_remote=False)


def test_examine_tells_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = write_wav(tmp_path / os.fsdecode(b"caf\xe9.wav"), voice(1.0))
    with path.open("ab"), pytest.raises(Unfinished, match="caf\N{REPLACEMENT CHARACTER}"):
        look_into(path)
