"""A little space that is kept to be given up: on a full disk it lets the ledger and the commands go on working.

Without it the ledger could not even take the few pages that note which job a person wants deleted.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cesar_watch.core.errors import SpoolError, folder_fault

BALLAST_BYTES = 1 << 20
NEEDED_BYTES = 64 << 20
"""Ballast is only taken where that much is free: on a smaller disk it would be in the way itself."""
ROOM_BYTES = 2 * BALLAST_BYTES
"""What must be free again before work goes on: room for the ballast, and for some work beside it."""


class Ballast:
    """The ballast of one state directory; only the owner of the instance lock has one. Any thread may use it."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir
        self._path = state_dir / "ballast"
        self._is_released = False

    def take(self) -> None:
        """Take ballast where there is none, or half of it; a disk that can't or shouldn't hold it goes without."""
        with contextlib.suppress(OSError):
            whole = self._path.exists() and self._path.stat().st_size == BALLAST_BYTES
            if not whole and _free_bytes(self._folder) > NEEDED_BYTES:
                self._write()

    def release(self) -> None:
        """Give the space up, if there is any to give; never raises."""
        with contextlib.suppress(OSError):
            self._path.unlink()
            self._is_released = True

    def restore(self) -> None:
        """Take released ballast again. Called before work goes on, which else would use up what was freed.

        Raises:
            SpoolError: The disk is still full; nothing stays of the ballast.
        """
        if not self._is_released:
            return
        try:
            if _free_bytes(self._folder) < ROOM_BYTES:
                raise SpoolError(
                    f"The disk of {self._folder} is full: free at least {ROOM_BYTES >> 20} MiB.", reason="disk_full"
                )
            self._write()
        except OSError as fault:
            raise folder_fault(fault) from None
        self._is_released = False

    def _write(self) -> None:
        try:
            with self._path.open("wb") as stream:
                # Random, since some filesystems keep zeros in no space at all.
                stream.write(os.urandom(BALLAST_BYTES))
                stream.flush()
                os.fsync(stream.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                self._path.unlink()
            raise


def _free_bytes(folder: Path) -> int:
    there = os.statvfs(folder)
    return there.f_bavail * there.f_frsize
