"""Moves and writes that survive a power cut, and never replace anybody's file.

The order of syncs is decided here and nowhere else:

1. content before name: a file is fsynced under a temporary name before it gets its own;
2. source folder before destination folder: the other order leaves one file under two names on
   btrfs after a power cut. Of a link and an unlink, which no disk takes for one change, the new
   name is made durable before the old one goes: btrfs may keep the unlink alone;
3. a failed fsync is final: the temporary file is thrown away, never synced again and believed
   (Rebello et al., ATC 2020: pages are marked clean after a failed fsync).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import filecmp
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from cesar_watch.core.errors import NameTaken

TEMPORARY_PREFIX = ".cesar-"
"""Every temporary name of ours begins so; nothing else in the spool does, but checkpoints."""

BUFFER_BYTES = 1 << 20
"""Content is written in pieces of this size."""

Rename = Callable[[Path, Path], None]
"""Moves one name to another without replacing; FileExistsError when the target is taken."""

_RENAME_NOREPLACE = 1
_AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)


def rename_noreplace(source: Path, target: Path) -> None:
    """Rename atomically, or raise FileExistsError and change nothing (renameat2(2), RENAME_NOREPLACE).

    Where the filesystem lacks it (NFS, sshfs: EINVAL), `link_noreplace` does the same.
    """
    if not _renamed(source, target):
        link_noreplace(source, target)


def rename_into_own(source: Path, target: Path) -> None:
    """Rename atomically into a folder in which nobody but the caller makes names; FileExistsError if it has this one.

    Where the filesystem lacks RENAME_NOREPLACE a plain rename does it. Link and unlink would not: two hosts could
    both link a file before either unlinks it, and both would have it.
    """
    if not _renamed(source, target):
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(source), None, str(target))
        os.rename(source, target)


def _renamed(source: Path, target: Path) -> bool:
    """Rename without replacing; return whether the filesystem can."""
    status = _libc.renameat2(
        _AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), ctypes.c_uint(_RENAME_NOREPLACE)
    )
    if status == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(source), None, str(target))


def link_noreplace(source: Path, target: Path) -> None:
    """Move by link and unlink: a crash or a power cut between them leaves one file under two names, never none.

    Raises:
        OSError: The source is as it was; where the target's folder could not be synced, the target is gone again.
    """
    os.link(source, target, follow_symlinks=False)
    try:
        sync_dir(target.parent)
    except OSError:
        os.unlink(target)
        raise
    os.unlink(source)


def sync_file(path: Path) -> None:
    """Make a file's content durable without following a link or waiting on a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_dir(folder: Path) -> None:
    """Make the names in a folder durable; filesystems that can't sync folders are left in peace."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as fault:
        if fault.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def sync_filesystem(folder: Path) -> None:
    """Make all that was ever written to the folder's filesystem durable, at once (syncfs(2)).

    For thousands of files, where a sync of each would take minutes.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


def make_dirs(folder: Path, *, below: Path = Path("/")) -> None:
    """Create a folder and its missing parents durably; an existing one is fine.

    Args:
        below: Is never made itself: when a share went away, its empty mount point lies on another disk.

    Raises:
        FileNotFoundError: `below` is not there; nothing was made.
    """
    if folder.is_dir():
        return
    if folder == below:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
    make_dirs(folder.parent, below=below)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
    sync_dir(folder.parent)


def move(source: Path, target: Path, *, rename: Rename = rename_noreplace) -> None:
    """Move a file durably, or raise FileExistsError with both names untouched.

    After return the move survives a power cut. A lost reply on a network mount (rename(2), NFS) is
    recognised by the file's inode under the new name.
    """
    before = os.lstat(source)
    try:
        rename(source, target)
    except OSError:
        # The rename may have happened though an error was reported, or be half done: linked, not yet unlinked.
        if not _same_file(target, before):
            raise
    finish_move(source, target)


def finish_move(source: Path, target: Path) -> None:
    """Make a move durable whose rename was done: by this process, or by one that died behind it.

    What lies at `source` by now is left alone, unless it is `target` itself under its old name.
    """
    if source != target and _same_file(source, os.lstat(target)):
        sync_dir(target.parent)
        os.unlink(source)
    with contextlib.suppress(FileNotFoundError):  # somebody removed the folder once it was empty
        sync_dir(source.parent)
    if target.parent != source.parent:
        sync_dir(target.parent)


def _same_file(path: Path, stat: os.stat_result) -> bool:
    try:
        seen = os.lstat(path)
    except OSError:
        return False
    return (seen.st_dev, seen.st_ino) == (stat.st_dev, stat.st_ino)


def write_new(target: Path, content: Iterable[bytes], *, staging: Path, rename: Rename = rename_noreplace) -> None:
    """Make `target` appear complete or not at all, and survive a power cut after return.

    Equal content already in place counts as done, so that a repeat after a crash is harmless.

    Args:
        content: Its pieces, which may be many.
        staging: A folder on the same mount in which the temporary file is made.

    Raises:
        NameTaken: `target` exists with other content; it is left alone.
        OSError: Disk full or read-only. No `target` was created, no temporary file stays.
    """
    temporary = _write_temporary(content, staging)
    try:
        rename(temporary, target)
    except FileExistsError:
        if not _is_equal(target, temporary):
            raise NameTaken(f"{target} exists already and is not ours; move it away.") from None
        # It may be there since before a power cut could have taken its name away again.
        sync_file(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_dir(target.parent)


def write_replace(target: Path, content: bytes, *, staging: Path) -> None:
    """Replace our own `target` atomically and durably; readers see the old or the new, never half.

    Only for files whose name is known to be ours.
    """
    temporary = _write_temporary([content], staging)
    try:
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_dir(target.parent)


def _write_temporary(content: Iterable[bytes], staging: Path) -> Path:
    temporary = staging / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    try:
        with temporary.open("xb", buffering=BUFFER_BYTES) as stream:
            stream.writelines(content)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _is_equal(target: Path, temporary: Path) -> bool:
    try:
        return not target.is_symlink() and target.is_file() and filecmp.cmp(target, temporary, shallow=False)
    except OSError:
        return False
