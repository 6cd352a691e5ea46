"""Small filesystems in memory whose power can be cut: ext4, XFS and btrfs on images, and tmpfs of any size.

Everything is mounted in a mount namespace of this process's own, on loop devices that let go by themselves: whatever
ends the process, also kill -9, the kernel takes mounts and devices away. At most a folder in /dev/shm is left over; the
next run removes it.

What a power cut leaves: ext4 and XFS are shut down with nothing flushed (the ioctl that filesystem developers test
with), and mounting replays the journal. btrfs has no such ioctl: its image is copied as it is at that moment. All that
reached an image stays: drives that lie about flushing are not modelled.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MEMORY = Path("/dev/shm")
PREFIX = "cesar-disks-"
_LOCK = "in-use"

_CLONE_NEWNS = 0x20000
_MS_NOATIME = 1024  # a noted access changes the file, and with it what btrfs syncs along
_MS_REMOUNT = 32
_MNT_DETACH = 2
_MS_REC_PRIVATE = 0x4000 | 0x40000
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_LO_FLAGS_AUTOCLEAR = 4
_BLKFLSBUF = 0x1261
_SHUTDOWN = 0x8004587D
_NOTHING_FLUSHED = 2
_FEW_TRIES = 200

_libc = ctypes.CDLL(None, use_errno=True)


class CantMount(Exception):
    """This machine, or this user, can't do what is asked; the message is the reason to skip."""


@dataclass(frozen=True)
class Filesystem:
    """How a filesystem is made and mounted.

    Attributes:
        name: As mount(2) knows it.
        make: The command that makes it; the image's path is added.
        size_bytes: The smallest that its tool accepts without a fight.
        options: No commits by the clock, so that a point is the same each time; and on ext4 no guessing that
            a program which renames over a file would have liked it synced.
        has_shutdown: Whether the ioctl cuts its power; otherwise the image is copied.
    """

    name: str
    make: tuple[str, ...]
    size_bytes: int
    options: str
    has_shutdown: bool


_MIB = 1 << 20
_EXT4 = ("mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0")
EXT4 = Filesystem("ext4", _EXT4, 64 * _MIB, "commit=600,noauto_da_alloc", has_shutdown=True)
XFS = Filesystem("xfs", ("mkfs.xfs", "-q", "-f", "-K"), 300 * _MIB, "", has_shutdown=True)
BTRFS = Filesystem("btrfs", ("mkfs.btrfs", "-q", "-M", "-K"), 128 * _MIB, "commit=600", has_shutdown=False)


# --- a namespace and a folder of our own -------------------------------------------------------------


@contextlib.contextmanager
def workshop() -> Iterator[Path]:
    """Yield a folder in memory for images and mounts; what dead runs left is removed first.

    This process gets a mount namespace of its own, once and for good: to be called before threads and children.

    Raises:
        CantMount: Not root, or no /dev/shm.
    """
    if not MEMORY.is_dir():
        raise CantMount("there is no /dev/shm to keep images in")
    if _libc.unshare(_CLONE_NEWNS) != 0 or _libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None) != 0:
        raise CantMount(f"a mount namespace of one's own is refused ({_last_error()}): needs root")
    # Two that begin at once must not take each other's new folder for a leftover.
    with (MEMORY / f"{PREFIX}lock").open("w") as beginning:
        fcntl.flock(beginning, fcntl.LOCK_EX)
        _remove_leftovers()
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=MEMORY))
        lock = (folder / _LOCK).open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    with lock:
        try:
            yield folder
        finally:
            _detach_all(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _detach_all(folder: Path) -> None:
    """Unmount what an interruption left mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        mount_point = line.split()[1]
        if mount_point.startswith(f"{folder}/"):
            _libc.umount2(os.fsencode(mount_point), _MNT_DETACH)


def _remove_leftovers() -> None:
    for folder in MEMORY.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


# --- a disk ------------------------------------------------------------------------------------------


class Disk:
    """One filesystem on an image in memory, mounted at `mount_point` while it has power.

    Raises:
        CantMount: The tool is missing, or loop devices are refused.
    """

    def __init__(self, filesystem: Filesystem, folder: Path, name: str) -> None:
        self.filesystem = filesystem
        self.mount_point = folder / name
        self.mount_point.mkdir()
        self._image = folder / f"{name}.img"
        _make(filesystem, self._image)
        self._device, self._loop = _attach(self._image)
        self._mount()

    def sync(self) -> None:
        """Make everything durable that is on this disk."""
        descriptor = os.open(self.mount_point, os.O_RDONLY)
        try:
            _call("syncfs", descriptor)
        finally:
            os.close(descriptor)

    def lose_power(self) -> None:
        """Cut the power, and mount what is left. Nobody may have anything open on it."""
        if self.filesystem.has_shutdown:
            self._shut_down()
            self._unmount()
            # A device that stays open may keep blocks in its cache that never reached the image.
            os.close(self._loop)
            self._device, self._loop = _attach(self._image)
        else:
            remains = _Snapshot(self._image)
            self._unmount()
            remains.put_back()
            fcntl.ioctl(self._loop, _BLKFLSBUF)
        self._mount()

    def close(self) -> None:
        """Unmount, and let the device and the image go."""
        self._unmount()
        os.close(self._loop)
        self._image.unlink()

    def _shut_down(self) -> None:
        try:
            descriptor = os.open(self.mount_point, os.O_RDONLY)
        except OSError as fault:
            if fault.errno == errno.EIO:  # XFS without power already: the dying process has cut it
                return
            raise
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("=I", _NOTHING_FLUSHED))
        finally:
            os.close(descriptor)

    def _mount(self) -> None:
        kind, options = self.filesystem.name.encode(), self.filesystem.options.encode()
        _call("mount", self._device.encode(), os.fsencode(self.mount_point), kind, _MS_NOATIME, options or None)

    def _unmount(self) -> None:
        unmount(self.mount_point)


class _Snapshot:
    """The content of a sparse file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pieces: list[tuple[int, bytes]] = []
        with path.open("rb") as stream:
            self._size_bytes = os.fstat(stream.fileno()).st_size
            end = 0
            while (begin := _next_data(stream.fileno(), end)) is not None:
                end = os.lseek(stream.fileno(), begin, os.SEEK_HOLE)
                self._pieces.append((begin, os.pread(stream.fileno(), end - begin, begin)))

    def put_back(self) -> None:
        """Write it into the same file again, holes as holes."""
        with self._path.open("r+b") as stream:
            stream.truncate(0)
            stream.truncate(self._size_bytes)
            for begin, content in self._pieces:
                os.pwrite(stream.fileno(), content, begin)


def _next_data(descriptor: int, offset: int) -> int | None:
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as fault:
        if fault.errno == errno.ENXIO:
            return None
        raise


def why_not(*filesystems: Filesystem) -> str | None:
    """Return the reason why these can't be mounted here; None where they can."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        reason = "the trial died"
        try:
            with workshop() as folder:
                for filesystem in set(filesystems):
                    disk = Disk(filesystem, folder, filesystem.name)
                    disk.lose_power()
                    disk.close()
            reason = ""
        except (CantMount, OSError) as fault:
            reason = str(fault)
        finally:
            os.write(writer, reason.encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        reason = stream.read()
    os.waitpid(child, 0)
    return reason or None


def _make(filesystem: Filesystem, image: Path) -> None:
    tool = shutil.which(filesystem.make[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if tool is None:
        raise CantMount(f"{filesystem.make[0]} is missing: install e2fsprogs, xfsprogs and btrfs-progs")
    with image.open("wb") as stream:
        stream.truncate(filesystem.size_bytes)
    done = subprocess.run([tool, *filesystem.make[1:], str(image)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CantMount(f"{filesystem.make[0]} failed: {done.stderr.strip()}")


def _attach(image: Path) -> tuple[str, int]:
    """Return a loop device on the image and the descriptor that keeps it: closed and unmounted, it is free again."""
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_FEW_TRIES):
            device, loop = _open_free_loop()
            try:
                info = struct.pack("=5Q4I", 0, 0, 0, 0, 0, 0, 0, 0, _LO_FLAGS_AUTOCLEAR).ljust(232, b"\0")
                fcntl.ioctl(loop, _LOOP_CONFIGURE, (struct.pack("=II", backing, 0) + info).ljust(304, b"\0"))
                return device, loop
            except OSError as fault:
                os.close(loop)
                if fault.errno != errno.EBUSY:  # somebody else was quicker
                    raise CantMount(f"a loop device is refused: {fault}") from fault
        raise CantMount("no loop device is free")
    finally:
        os.close(backing)


def _open_free_loop() -> tuple[str, int]:
    try:
        with open("/dev/loop-control", "rb") as control:
            device = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
        return device, os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as fault:
        raise CantMount(f"loop devices are refused: {fault}") from fault


# --- tmpfs, and what all share ------------------------------------------------------------------------


def mount_tmpfs(mount_point: Path, options: str) -> None:
    """Mount an empty tmpfs with such options as `size=64m,nr_inodes=100`."""
    _call("mount", b"tmpfs", os.fsencode(mount_point), b"tmpfs", 0, options.encode())


def resize_tmpfs(mount_point: Path, options: str) -> None:
    """Give a tmpfs another size.

    Raises:
        OSError: EINVAL: more than that is in use.
    """
    _call("mount", b"tmpfs", os.fsencode(mount_point), b"tmpfs", _MS_REMOUNT, options.encode())


def unmount(mount_point: Path) -> None:
    """Unmount; the last closing of files by a process that has just died may take an instant.

    Raises:
        OSError: EBUSY: somebody has something open there.
    """
    pause = threading.Event()
    for tries_left in reversed(range(_FEW_TRIES)):
        try:
            _call("umount2", os.fsencode(mount_point), 0)
            return
        except OSError as fault:
            if fault.errno != errno.EBUSY or tries_left == 0:
                raise
        pause.wait(0.01)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _last_error() -> str:
    return os.strerror(ctypes.get_errno())
