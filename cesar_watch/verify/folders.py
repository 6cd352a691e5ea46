"""What lies in the rooms: one listing of each folder, and files read block by block."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cesar_watch.verify.terms import NAME_BYTES, ROOMS

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Seen:
    """What lstat(2) says of one name."""

    mode: int
    size_bytes: int
    mtime_ns: int
    device: int
    inode: int
    links: int

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def kind(self) -> str:
        """What it is, in words."""
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a symbolic link", stat.S_IFREG: "a file"}
        return kinds.get(stat.S_IFMT(self.mode), "a device or pipe")


_SUBFOLDERS_OWN = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}
"""What is said of a folder that went away, may not be read, or lies too deep for any path."""


class Folders:
    """The rooms of a spool at one moment. Paths are bytes relative to the root.

    A name that the listing does not have is looked for once more when it is asked for: beside a running service it
    may have come meanwhile, and some network mounts spell a name otherwise than it was asked for.

    `closed` are the subfolders that may not be looked into.
    """

    def __init__(self, root: Path) -> None:
        """List every room.

        Raises:
            OSError: A room can't be listed. A subfolder that went away meanwhile is passed over.
        """
        self.closed: list[bytes] = []
        self._root = os.fsencode(root)
        self._seen: dict[bytes, Seen] = {}
        self._names: dict[bytes, list[bytes]] = defaultdict(list)
        for room in ROOMS:
            self._list(room)

    def _list(self, room: bytes) -> None:
        waiting = [room]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(os.path.join(self._root, folder)) as listing:
                    entries = [(entry.name, entry.stat(follow_symlinks=False)) for entry in _still_there(listing)]
            except OSError as fault:
                if folder == room or fault.errno not in _SUBFOLDERS_OWN:
                    raise
                if not isinstance(fault, FileNotFoundError):
                    self.closed.append(folder)
                continue
            for name, found in sorted(entries, key=lambda entry: entry[0]):
                path = os.path.join(folder, name)
                self._names[folder].append(name)
                self._seen[path] = _seen(found)
                if stat.S_ISDIR(found.st_mode):
                    waiting.append(path)

    @property
    def count(self) -> int:
        """How many files lie in the rooms."""
        return sum(not stat.S_ISDIR(seen.mode) for seen in self._seen.values())

    def beside(self, path: bytes, ending: bytes) -> bytes:
        """Return `<path><ending>`; a name that this filesystem would not take is cut, with a hash of the whole one."""
        folder, name = os.path.split(path)
        limit_bytes = min(NAME_BYTES, os.pathconf(self._root, "PC_NAME_MAX"))
        if len(name) + len(ending) > limit_bytes:
            tail = b"~" + hashlib.sha256(name).hexdigest()[:8].encode()
            room = limit_bytes - len(tail) - len(ending)
            while room and name[room] & 0xC0 == 0x80:
                room -= 1
            name = name[:room] + tail
        return os.path.join(folder, name + ending)

    def find(self, path: bytes) -> Seen | None:
        """Return what has this name; None if nothing has."""
        if path in self._seen:
            return self._seen[path]
        try:
            return _seen(os.lstat(os.path.join(self._root, path)))
        except OSError:
            return None

    def names(self, folder: bytes) -> list[bytes]:
        """Return the names in a folder, sorted; none where it is not listed."""
        return self._names.get(folder, [])

    def below(self, room: bytes) -> Iterator[tuple[bytes, Seen]]:
        """Yield every name below a room with what it is."""
        prefix = room + b"/"
        return ((path, seen) for path, seen in self._seen.items() if path.startswith(prefix))

    def linked(self) -> Iterator[list[bytes]]:
        """Yield the names of every file that has several of them in the rooms."""
        groups = defaultdict(list)
        for path, seen in self._seen.items():
            if seen.is_file and seen.links > 1:
                groups[seen.device, seen.inode].append(path)
        return (sorted(names) for names in groups.values() if len(names) > 1)

    def sha256(self, path: bytes) -> str | None:
        """Return a file's hash; None if it can't be read. No link is followed and no pipe is waited on."""
        digest = hashlib.sha256()
        try:
            with os.fdopen(self._open(path), "rb") as stream:
                while block := stream.read(_BLOCK_BYTES):
                    digest.update(block)
        except OSError:
            return None
        return digest.hexdigest()

    def content(self, path: bytes) -> bytes | None:
        """Return a file's bytes; None if it can't be read. For our own outputs and sidecars, not for recordings."""
        try:
            with os.fdopen(self._open(path), "rb") as stream:
                return stream.read()
        except OSError:
            return None

    def _open(self, path: bytes) -> int:
        return os.open(os.path.join(self._root, path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _still_there(listing: Iterator[os.DirEntry[bytes]]) -> Iterator[os.DirEntry[bytes]]:
    """Pass over what goes away between its listing and its look."""
    for entry in listing:
        try:
            entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        yield entry


def _seen(found: os.stat_result) -> Seen:
    return Seen(found.st_mode, found.st_size, found.st_mtime_ns, found.st_dev, found.st_ino, found.st_nlink)
