"""No files, but called like recordings: the service does not wait for them, nor follow them, nor take them away."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.watched import Watched, watching, wav


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watching(tmp_path_factory.mktemp("kinds"), CESAR_WATCH_SPOOL__RECURSIVE="true") as watched:
        yield watched


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        before = Path.cwd()
        os.chdir(path.parent)  # the way there may be longer than an address
        try:
            listening.bind(path.name)
        finally:
            os.chdir(before)


def _endless_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # as /dev/zero
    except PermissionError:
        pytest.skip("no device can be made here")


def _block_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 250))  # a loop device that is not in use
    except PermissionError:
        pytest.skip("no device can be made here")


def _link_to_a_recording(path: Path) -> None:
    path.symlink_to(_elsewhere(path) / "library.wav")


def _link_to_nothing(path: Path) -> None:
    path.symlink_to("nothing-at-all.wav")


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def _link_to_an_endless_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _link_to_a_folder(path: Path) -> None:
    path.symlink_to(_elsewhere(path))


def _link_to_the_inbox(path: Path) -> None:
    path.symlink_to(path.parent)


def _folder(path: Path) -> None:
    path.mkdir()


def _elsewhere(path: Path) -> Path:
    """Make a folder with a recording outside the spool."""
    folder = path.parents[2] / f"elsewhere-{path.stem}"
    folder.mkdir(exist_ok=True)
    (folder / "library.wav").write_bytes(wav(1))
    return folder


@pytest.mark.parametrize(
    "make",
    [
        _pipe,
        _socket,
        _endless_device,
        _block_device,
        _link_to_a_recording,
        _link_to_nothing,
        _link_to_itself,
        _link_to_an_endless_device,
        _link_to_a_folder,
        _link_to_the_inbox,
        _folder,
    ],
    ids=lambda make: make.__name__.strip("_"),
)
def test_thing_that_is_no_file_stays_as_it_is_and_holds_nobody_up(
    watched: Watched, make: Callable[[Path], None]
) -> None:
    path = watched.inbox / f"{make.__name__.strip('_')}.wav"
    make(path)
    before = os.lstat(path)
    watched.completes({})  # a recording dropped besides is claimed, and nothing else
    after = os.lstat(path)
    assert (after.st_ino, after.st_mode, after.st_ctime_ns) == (before.st_ino, before.st_mode, before.st_ctime_ns)


def test_pipe_in_the_inbox_has_no_reader(watched: Watched) -> None:
    path = watched.inbox / "silent.wav"
    os.mkfifo(path)
    watched.looks()
    with pytest.raises(OSError, match="No such device or address") as refused:
        os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    assert refused.value.errno == errno.ENXIO


def test_recording_that_a_link_leads_to_is_not_touched(watched: Watched) -> None:
    link = watched.inbox / "leading-out.wav"
    _link_to_a_recording(link)
    target = link.resolve()
    before = os.stat(target)
    watched.looks()
    after = os.stat(target)
    assert target.read_bytes() == wav(1)
    assert (after.st_ino, after.st_nlink, after.st_ctime_ns) == (before.st_ino, before.st_nlink, before.st_ctime_ns)
