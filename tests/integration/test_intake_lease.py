"""The kernel's own answer to "does anybody write this file?", asked of real files and real writers."""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cesar_watch.intake.lease import is_being_written


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    path.write_bytes(b"sound" * 1000)
    return path


@pytest.fixture
def reading(talk: Path) -> Iterator[int]:
    descriptor = os.open(talk, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_file_that_nobody_writes_is_not_being_written(reading: int) -> None:
    assert is_being_written(reading) is False


def test_file_with_other_readers_is_not_being_written(talk: Path, reading: int) -> None:
    with talk.open("rb"):
        assert is_being_written(reading) is False


@pytest.mark.parametrize("mode", ["ab", "r+b"])
def test_file_that_is_open_for_writing_is_being_written_until_it_is_closed(talk: Path, reading: int, mode: str) -> None:
    with talk.open(mode):
        assert is_being_written(reading) is True
    assert is_being_written(reading) is False


def test_file_that_another_process_writes_is_being_written(talk: Path, reading: int) -> None:
    code = "import sys; stream = open(sys.argv[1], 'ab'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code, talk], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        assert is_being_written(reading) is True
    assert is_being_written(reading) is False


def test_file_that_was_renamed_under_its_writer_is_still_being_written(talk: Path, reading: int) -> None:
    with talk.open("ab"):
        talk.rename(talk.with_name("moved.wav"))
        assert is_being_written(reading) is True


def test_file_that_is_mapped_for_writing_is_being_written(talk: Path, reading: int) -> None:
    with talk.open("r+b") as stream:
        mapped = mmap.mmap(stream.fileno(), 0)
    assert is_being_written(reading) is True
    mapped.close()
    assert is_being_written(reading) is False


def test_lease_is_given_back_so_that_a_writer_never_waits_for_us(talk: Path, reading: int) -> None:
    assert is_being_written(reading) is False
    with talk.open("ab"):  # would hang for /proc/sys/fs/lease-break-time, 45 s, if the lease were still held
        assert fcntl.fcntl(reading, fcntl.F_GETLEASE) == fcntl.F_UNLCK


def test_kind_of_file_without_leases_gives_no_answer() -> None:
    reading, writing = os.pipe()
    assert is_being_written(reading) is None
    os.close(reading)
    os.close(writing)


def test_file_of_another_user_gives_no_answer_without_the_capability(talk: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    code = (
        "import os, sys; from cesar_watch.intake.lease import is_being_written; descriptor = os.open(sys.argv[1], 0); "
        "os.setgid(65534); os.setuid(65534); print(is_being_written(descriptor))"
    )
    done = subprocess.run([sys.executable, "-c", code, talk], capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"


def test_writer_that_knocks_while_the_lease_is_held_does_not_kill_us(talk: Path) -> None:
    """The same call, stopped between taking and giving back; the signal has its default disposition."""
    code = """
import os, signal, sys
from cesar_watch.intake.lease import _take, is_being_written
assert signal.getsignal(signal.SIGIO) == signal.SIG_DFL
descriptor = os.open(sys.argv[1], os.O_RDONLY)
assert is_being_written(descriptor) is False
_take(descriptor)
try:
    os.open(sys.argv[1], os.O_WRONLY | os.O_NONBLOCK)
except BlockingIOError:
    print("alive")
"""
    done = subprocess.run([sys.executable, "-c", code, talk], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


def test_writer_that_knocks_would_kill_a_holder_who_took_no_care(talk: Path) -> None:
    """What the test above is worth: without the care of `lease.py` the process dies."""
    code = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
os.open(sys.argv[1], os.O_WRONLY | os.O_NONBLOCK)
"""
    done = subprocess.run([sys.executable, "-c", code, talk], capture_output=True, check=False)
    assert done.returncode == -signal.SIGIO
