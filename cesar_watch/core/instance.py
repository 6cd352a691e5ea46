"""One process owns a state directory: the instance's id, its lock, and the proof that the disk is local.

The lock is on the directory itself, since a lock file could be deleted under its owner. Two locks on one
descriptor do it: flock(2) lets one owner in; beside it a shared open-file-description lock (fcntl(2)) can be
asked for without taking anything, which flock can't. The kernel gives both up when the process dies, and
children do not inherit them past exec.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import struct
from collections.abc import Iterator
from pathlib import Path

from cesar_watch.core.durable import make_dirs, write_new
from cesar_watch.core.errors import AlreadyRunning, SpoolError, folder_fault
from cesar_watch.core.mounts import filesystem_type, is_remote


def make_state_dir(state_dir: Path) -> None:
    """Make the state directory where it is missing.

    Raises:
        SpoolError: It can't be made, or lies on a network filesystem. Nothing else was touched.
    """
    existing = next(folder for folder in (state_dir, *state_dir.parents) if folder.exists())
    if is_remote(existing):
        raise SpoolError(
            f"The state directory {state_dir} lies on a network filesystem ({filesystem_type(existing)}), where "
            "SQLite can lose data: set spool.state_dir to a folder on a local disk.",
            reason="state_not_local",
        )
    try:
        make_dirs(state_dir)
    except OSError as fault:
        raise folder_fault(fault) from None


def open_instance(state_dir: Path) -> str:
    """Return the instance's id, made up where there is none yet. Only for the owner of the lock.

    Raises:
        SpoolError: It is damaged, or can't be written.
    """
    path = state_dir / "instance"
    try:
        if not path.exists():
            write_new(path, [f"{secrets.token_hex(4)}\n".encode()], staging=state_dir)
    except OSError as fault:
        raise folder_fault(fault) from None
    return read_instance(state_dir)


def read_instance(state_dir: Path) -> str:
    """Return the instance's id.

    Raises:
        SpoolError: There is none, or it is damaged.
    """
    path = state_dir / "instance"
    try:
        instance = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as fault:
        raise folder_fault(fault) from None
    if not re.fullmatch(r"[0-9a-f]{8}", instance):
        raise SpoolError(f"{path} is damaged: take it away and start again.", reason="state_damaged")
    return instance


@contextlib.contextmanager
def instance_lock(state_dir: Path) -> Iterator[None]:
    """Own the state directory for the length of the block.

    Raises:
        AlreadyRunning: Another process owns it; nothing was changed.
    """
    try:
        descriptor = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as fault:
        raise folder_fault(fault) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _whole_file(fcntl.F_RDLCK))
        except BlockingIOError:
            raise AlreadyRunning(
                f"Another cesar-watch already runs on {state_dir}: stop it first, or use `cesar-watch status`."
            ) from None
        except OSError as fault:
            raise folder_fault(fault) from None
        yield
    finally:
        os.close(descriptor)


def is_running(state_dir: Path) -> bool:
    """Whether a process owns the state directory; asks the kernel and takes nothing."""
    try:
        descriptor = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _whole_file(fcntl.F_WRLCK))
        return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
    finally:
        os.close(descriptor)


_FLOCK = "hhqqi0q"
"""struct flock on 64-bit Linux: type, whence, start, length, process id."""


def _whole_file(kind: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0)
