from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cesar_watch.core.transcript import Transcript
from cesar_watch.speech import checkpoint as module
from cesar_watch.speech.checkpoint import Checkpoint, fingerprint
from tests.fakes import window
from tests.transcripts import in_memory

WINDOWS = (window(0, "one"), window(1, "žluťoučký kůň"), window(2, ""))


def begun(folder: Path) -> Checkpoint:
    checkpoint = Checkpoint.open(folder, "f")
    for each in WINDOWS:
        checkpoint.append(each)
    return checkpoint


def test_checkpoint_in_an_empty_folder_begins_with_nothing(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(tmp_path, "f")
    assert (tuple(checkpoint.windows), checkpoint.transcript) == ((), None)
    assert [entry.name for entry in tmp_path.iterdir()] == [module.NAME]


def test_checkpoint_opened_again_has_its_windows(tmp_path: Path) -> None:
    begun(tmp_path)
    checkpoint = Checkpoint.open(tmp_path, "f")
    assert tuple(checkpoint.windows) == WINDOWS
    assert checkpoint.transcript is None
    checkpoint.append(window(3, "more"))
    assert len(Checkpoint.open(tmp_path, "f").windows) == 4


def test_checkpoint_finished_gives_the_transcript_in_every_later_life(tmp_path: Path) -> None:
    transcript = begun(tmp_path).finish(duration_s=30.0, declared_s=30.1, skipped_packets=2)
    for each in (transcript, Checkpoint.open(tmp_path, "f").transcript):
        assert in_memory(each) == Transcript(duration_s=30.0, declared_s=30.1, skipped_packets=2, windows=WINDOWS)


def test_checkpoint_finished_without_a_declared_length_is_read_back(tmp_path: Path) -> None:
    transcript = begun(tmp_path).finish(duration_s=30.0, declared_s=None, skipped_packets=0)
    assert in_memory(Checkpoint.open(tmp_path, "f").transcript) == in_memory(transcript)


@pytest.fixture
def shared_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder where syncing costs nothing, if this machine has one."""
    folder = Path("/dev/shm")
    if not os.access(folder, os.W_OK | os.X_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix="cesar-watch-test-") as made:
        yield Path(made)


def test_checkpoint_torn_at_any_byte_keeps_the_whole_lines(shared_memory: Path) -> None:
    begun(shared_memory).finish(duration_s=30.0, declared_s=None, skipped_packets=0)
    path = shared_memory / module.NAME
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        checkpoint = Checkpoint.open(shared_memory, "f")
        whole_lines = content[:length].count(b"\n")
        assert tuple(checkpoint.windows) == WINDOWS[: max(0, whole_lines - 1)]
        assert checkpoint.transcript is None
        assert path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("damage", [b"\0" * 40 + b"\n", b"{}\n", b'{"window": 1}\n', b"\xff\xfe\n", b"[]\n"])
def test_checkpoint_with_a_damaged_line_is_cut_before_it(tmp_path: Path, damage: bytes) -> None:
    begun(tmp_path)
    path = tmp_path / module.NAME
    good = path.read_bytes()
    path.write_bytes(good + damage + good.splitlines(keepends=True)[-1])
    assert tuple(Checkpoint.open(tmp_path, "f").windows) == WINDOWS
    assert path.read_bytes() == good


def test_checkpoint_keeps_windows_in_any_order_and_returns_them_in_that_of_time(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(tmp_path, "f")
    for index in (1, 0, 2):
        checkpoint.append(WINDOWS[index])
    assert tuple(checkpoint.windows) == tuple(Checkpoint.open(tmp_path, "f").windows) == WINDOWS
    whole = checkpoint.finish(duration_s=30.0, declared_s=None, skipped_packets=0)
    assert tuple(whole.windows) == WINDOWS


def test_checkpoint_with_a_window_missing_keeps_the_others_and_is_not_finished(tmp_path: Path) -> None:
    begun(tmp_path).finish(duration_s=30.0, declared_s=None, skipped_packets=0)
    path = tmp_path / module.NAME
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1], lines[3], lines[4]]))
    checkpoint = Checkpoint.open(tmp_path, "f")
    assert (tuple(checkpoint.windows), checkpoint.transcript) == ((WINDOWS[0], WINDOWS[2]), None)
    checkpoint.append(WINDOWS[1])
    assert tuple(Checkpoint.open(tmp_path, "f").windows) == WINDOWS
    with pytest.raises(AssertionError):
        checkpoint.append(WINDOWS[1])


def test_windows_of_a_checkpoint_are_read_when_they_are_gone_through_and_are_those_of_that_time(tmp_path: Path) -> None:
    checkpoint = begun(tmp_path)
    windows = checkpoint.windows
    checkpoint.append(window(3, "later"))
    assert (len(windows), len(checkpoint.windows)) == (3, 4)
    assert WINDOWS[2] in windows
    assert window(3, "later") not in windows
    (tmp_path / module.NAME).unlink()
    with pytest.raises(FileNotFoundError):
        list(windows)


def test_checkpoint_is_not_finished_while_a_window_is_missing(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(tmp_path, "f")
    checkpoint.append(WINDOWS[1])
    with pytest.raises(AssertionError):
        checkpoint.finish(duration_s=20.0, declared_s=None, skipped_packets=0)


@pytest.mark.parametrize("header", [None, b"nonsense\n", b"", b"\0" * 100 + b"\n"])
def test_checkpoint_of_other_options_or_a_damaged_header_begins_anew(tmp_path: Path, header: bytes | None) -> None:
    begun(tmp_path)
    path = tmp_path / module.NAME
    if header is not None:
        path.write_bytes(header + path.read_bytes().partition(b"\n")[2])
    checkpoint = Checkpoint.open(tmp_path, "other" if header is None else "f")
    assert tuple(checkpoint.windows) == ()
    checkpoint.append(WINDOWS[0])
    assert [entry.name for entry in tmp_path.iterdir()] == [module.NAME]


def test_fingerprint_depends_on_values_and_not_on_their_order() -> None:
    one = fingerprint({"beam_size": 5, "language": None}, "ab")
    assert one == fingerprint({"language": None, "beam_size": 5}, "ab")
    assert one != fingerprint({"language": "cs", "beam_size": 5}, "ab")
    assert one != fingerprint({"language": None, "beam_size": 5}, "ac")


@contextmanager
def files_no_larger_than(size_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_checkpoint_that_could_not_write_says_so_and_is_mended_when_opened_again(tmp_path: Path) -> None:
    checkpoint = begun(tmp_path)
    size_bytes = (tmp_path / module.NAME).stat().st_size
    with files_no_larger_than(size_bytes + 10), pytest.raises(OSError, match="File too large"):
        checkpoint.append(window(3, "lost"))
    with pytest.raises(AssertionError):
        checkpoint.append(window(3, "lost"))
    mended = Checkpoint.open(tmp_path, "f")
    assert tuple(mended.windows) == WINDOWS
    assert (tmp_path / module.NAME).stat().st_size == size_bytes


def test_checkpoint_in_a_folder_that_is_gone_raises_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Checkpoint.open(tmp_path / "gone", "f")
