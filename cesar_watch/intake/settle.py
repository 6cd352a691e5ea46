"""Decide when a file in the inbox has stopped changing.

Nothing here opens, moves or queues a file. A close event is only a hint: a network share may never
send one, and some recorders close and reopen a file while they are still recording. The clock is a
monotonic one: modification times lie (preserved, in the future, 1980).
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

Fingerprint = tuple[int, int, int, int, int]


@dataclass
class _Seen:
    fingerprint: Fingerprint
    since_s: float


class SettleTracker:
    """Remember, per path, since when the file has looked the same. Owned by the intake thread."""

    def __init__(self) -> None:
        self._seen: dict[Path, _Seen] = {}

    def wait_s(self, path: Path, stat: os.stat_result, now_s: float, quiet_s: float) -> float:
        """Record one look at a file; return how long it must still stay unchanged, 0 when it has settled.

        Settled means: at least two looks, and every look during the last `quiet_s` seconds saw the same
        (device, inode, size, mtime, ctime). An empty file never settles, because most writers create
        the name first and the content later.

        Args:
            now_s: Monotonic seconds, passed in so that no test has to sleep.
        """
        fingerprint = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        seen = self._seen.get(path)
        if seen is None or seen.fingerprint != fingerprint:
            self._seen[path] = _Seen(fingerprint, now_s)
            return max(quiet_s, 0.01)
        if stat.st_size == 0:
            return max(quiet_s, 1.0)
        return max(0.0, seen.since_s + quiet_s - now_s)

    def restart(self, path: Path) -> None:
        """Let a file prove anew that it has settled, since it was found to be busy."""
        self._seen.pop(path, None)

    def forget_all_but(self, paths: Collection[Path]) -> None:
        """Drop what is known of files that are no longer there, so that memory stays bounded."""
        for gone in self._seen.keys() - set(paths):
            del self._seen[gone]
