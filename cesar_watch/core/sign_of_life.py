"""A sign of life on the share itself, for other hosts: state directories are local, so they tell nobody else.

It is the file `.cesar-alive` in `processing/<instance>/`, there while the instance has recordings in work or waiting;
one that has none writes nothing, since there is nothing to take over. Two things speak for life:

- a kernel lock on the file (fcntl(2), open file description): it goes with the process, and is seen by all processes on
  the same mount, and by other hosts where the share passes locks on (NFS, SMB); on some it does not;
- a beat: its content changes every `BEAT_S`. Whoever looks compares two looks by their own clock, never the
  clocks of two hosts.

Held means alive. Not held means dead only where the lock is known to be the very one that the looker asks for; else
the beat decides.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

SIGN = ".cesar-alive"
BEAT_S = 20.0
"""How often the sign changes; beside work in progress, whose sidecars are written far more often, that is nothing."""


class Life(Enum):
    """What one look at a sign says of its instance."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"
    """Only watching for a beat can tell."""


@dataclass(frozen=True)
class Look:
    """A sign as it was at one moment; two looks that differ saw a beat."""

    content: bytes
    mtime_ns: int
    is_held: bool
    is_same_lock: bool
    """Its lock was taken under the running kernel, in the mount through which it was asked for here."""

    @property
    def life(self) -> Life:
        """What this look alone says."""
        if self.is_held:
            return Life.ALIVE
        return Life.DEAD if self.is_same_lock else Life.UNKNOWN

    @property
    def host(self) -> str:
        """The name of the host that wrote it; "" where it does not tell."""
        return str(_fields(self.content).get("host", ""))

    @property
    def token(self) -> str:
        """What two looks have in common if there was no beat between them."""
        return f"{self.mtime_ns} {self.content.decode('utf-8', 'replace').strip()}"


NOTHING = Look(b"", 0, is_held=False, is_same_lock=False)
"""There is no sign: its instance is older than signs are, or died before its first."""


def look(folder: Path) -> Look:
    """Look at the sign in an instance's folder; takes nothing and changes nothing.

    Opened anew each time, since that is when a network mount asks its server.

    Raises:
        OSError: The folder can't be read.
    """
    try:
        descriptor = os.open(folder / SIGN, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return NOTHING
    try:
        content, stat = os.read(descriptor, 4096), os.fstat(descriptor)
        try:
            answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _whole_file(fcntl.F_WRLCK))
        except OSError:
            return Look(content, stat.st_mtime_ns, is_held=False, is_same_lock=False)
        is_held = bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
    finally:
        os.close(descriptor)
    where = {"boot": _boot(), "device": stat.st_dev, "inode": stat.st_ino, "locked": True}
    told = _fields(content)
    is_same_lock = bool(where["boot"]) and all(told.get(key) == value for key, value in where.items())
    return Look(content, stat.st_mtime_ns, is_held=is_held, is_same_lock=is_same_lock)


class SignOfLife:
    """This instance's own sign. Owned by one thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / SIGN
        self._descriptor: int | None = None
        self._is_locked = False

    def beat(self, now: datetime) -> None:
        """Write the sign anew, and hold its lock until `rest` or the end of the process.

        Raises:
            OSError: It can't be written. A lock that is held stays held: a full disk is no death.
        """
        if self._descriptor is None or not self._is_there(self._descriptor):
            self._open()
        assert self._descriptor is not None
        stat = os.fstat(self._descriptor)
        fields = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "boot": _boot(),
            "device": stat.st_dev,
            "inode": stat.st_ino,
            "locked": self._is_locked,
            "at": now.isoformat(),
        }
        content = json.dumps(fields).encode() + b"\n"
        # In place, since the lock is on this very file; a reader who sees half of it has seen it change.
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))
        os.fsync(self._descriptor)

    def rest(self) -> None:
        """Take the sign away, and let go of the lock; none there is fine.

        Raises:
            OSError: It can't be taken away; the lock is let go all the same.
        """
        self.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the lock; the sign stays, and does not change any more."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> None:
        self.close()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o644)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _whole_file(fcntl.F_WRLCK))
            self._is_locked = True
        except OSError:  # a share without locks: there the beat alone has to tell
            self._is_locked = False

    def _is_there(self, descriptor: int) -> bool:
        """Whether the name still stands for the file that is open."""
        try:
            mine = os.fstat(descriptor)
        except OSError:  # ESTALE: the share went away and came back
            return False
        try:
            return os.path.samestat(os.stat(self._path, follow_symlinks=False), mine)
        except FileNotFoundError:
            return False


def _fields(content: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(content)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _boot() -> str:
    """Return the id of the running kernel's boot (proc(5)); "" where it can't be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


_FLOCK = "hhqqi0q"
"""struct flock on 64-bit Linux: type, whence, start, length, process id."""


def _whole_file(kind: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0)
