"""Decide when a file in the inbox has stopped changing, and how long one that can't be taken yet is left alone.

Bookkeeping only: nothing here opens, moves or queues a file. In this order:

1. what proves that a file is *not* whole beats everything: somebody writes it, or its own structure says so;
2. what proves that it is whole, or that it was renamed into place, or its sender's word, makes one quick confirmation
   enough;
3. whatever proves nothing has to stay unchanged for the quiet window.

A name that temporary files have too is stronger than 2: such a file is not looked into for a long while.

The clock is a monotonic one: modification times lie (preserved, in the future, 1980). A close event proves nothing,
since some recorders close and reopen a file while they are still recording; it only ends the wait for a writer.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cesar_watch.core.config import SpoolSettings
from cesar_watch.intake.probe import Complete, Short, Verdict
from cesar_watch.intake.ready import Promise

SETTLING = "settling"
"""The reason of a file that is inside its quiet window; all others are those of files that are parked."""
NO_MARKER = "no_marker"
"""The reason of a file whose sender has not said yet that it is whole (`spool.ready_marker`)."""

_CONFIRM_S = 0.2
_CONFIRM_REMOTE_S = 3.0
"""NFS clients believe what they know of a file for at least so long (nfs(5), acregmin)."""

_PARKED_S = 1.0
_PARKED_MAX_S = 64.0

Fingerprint = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Windows:
    """How long a file must stay unchanged: to be looked into, to be taken unproven, to be taken though cut short."""

    confirm_s: float
    quiet_s: float
    short_s: float

    @classmethod
    def of(cls, spool: SpoolSettings, *, is_remote: bool) -> Windows:
        """Return the windows for the inbox's filesystem."""
        quiet_s = spool.quiet_remote_s if is_remote else spool.quiet_s
        confirm_s = min(quiet_s, _CONFIRM_REMOTE_S if is_remote else _CONFIRM_S)
        return cls(confirm_s, quiet_s, max(quiet_s, spool.short_grace_s))


@dataclass
class _Seen:
    fingerprint: Fingerprint
    since_s: float
    next_s: float
    reason: str = SETTLING
    times: int = 0
    is_moved_in: bool = False
    promise: Promise = Promise.NOT_ASKED


class SettleTracker:
    """Remember, per path, since when the file has looked the same and what it waits for. Owned by the intake thread.

    All `now_s` are monotonic seconds, passed in so that no test has to sleep. `windows` may be replaced at any time.
    """

    def __init__(self, windows: Windows) -> None:
        self.windows = windows
        self._seen: dict[Path, _Seen] = {}

    def look(
        self,
        path: Path,
        stat: os.stat_result,
        now_s: float,
        *,
        least_s: float = 0.0,
        moved_in: bool = False,
        closed: bool = False,
        may_be_empty: bool = False,
        promise: Promise = Promise.NOT_ASKED,
    ) -> float:
        """Record one look at a file; return the seconds until it is worth looking into, 0 for now.

        Worth it means: at least two looks, and all during the quick confirmation saw the same (device, inode, size,
        mtime, ctime). An empty file never is, because most writers create the name first and the content later.

        Args:
            least_s: It must look the same for at least so long, whatever speaks for it.
            moved_in: It was renamed to this name since the last look.
            closed: A writer closed it since the last look.
            may_be_empty: An empty file is worth it like any other.
            promise: What its sender says. Where they are asked and have not said that it is whole, it waits.
        """
        fingerprint = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        seen = self._seen.get(path)
        is_new = seen is None or seen.fingerprint != fingerprint
        if seen is None or is_new:
            seen = self._seen[path] = _Seen(fingerprint, now_s, now_s + max(self.windows.confirm_s, least_s))
        seen.is_moved_in = seen.is_moved_in or moved_in
        if closed and seen.times:
            seen.next_s = min(seen.next_s, now_s)
        if stat.st_size == 0 and not may_be_empty:
            seen.reason = "empty"
            if now_s >= seen.next_s:
                self._put_off(seen, now_s)
        seen.promise = promise
        if promise is Promise.MISSING:
            seen.reason = NO_MARKER
            return math.inf
        if seen.reason == NO_MARKER:
            seen.reason = SETTLING
        wait_s = max(0.0, seen.next_s - now_s)
        return max(wait_s, 0.01) if is_new else wait_s

    def weigh(self, path: Path, verdict: Verdict, now_s: float) -> float:
        """Take in what the file's own structure proves; return the seconds until it may be taken, 0 for now."""
        seen = self._seen[path]
        if isinstance(verdict, Short):
            due_s = seen.since_s + self.windows.short_s
            if now_s >= due_s:
                return 0.0
            self.park(path, "short", now_s)
            seen.next_s = min(seen.next_s, due_s)
        elif isinstance(verdict, Complete) or seen.is_moved_in or seen.promise is Promise.GIVEN:
            return 0.0
        else:
            seen.reason, seen.next_s = SETTLING, seen.since_s + self.windows.quiet_s
        return max(0.0, seen.next_s - now_s)

    def park(self, path: Path, reason: str, now_s: float) -> float:
        """Leave a file alone that can't be taken now; return for how long: longer each time, never for good.

        Until its quiet window is over it counts as settling, whatever the reason: a copy is being made.
        """
        seen = self._seen[path]
        self._put_off(seen, now_s)
        quiet_until_s = seen.since_s + self.windows.quiet_s
        if now_s < quiet_until_s:
            seen.next_s = min(seen.next_s, quiet_until_s)
        seen.reason = SETTLING if now_s < quiet_until_s else reason
        return max(0.0, seen.next_s - now_s)

    def is_parked(self, path: Path) -> bool:
        """Whether the file waits for something else than its quiet window."""
        return path in self._seen and self._seen[path].reason != SETTLING

    def restart(self, path: Path) -> None:
        """Let a file prove anew that it has settled, since it was found to have changed."""
        self._seen.pop(path, None)

    def forget_all_but(self, paths: Collection[Path]) -> None:
        """Drop what is known of files that are no longer there, so that memory stays bounded."""
        for gone in self._seen.keys() - set(paths):
            del self._seen[gone]

    def reasons(self) -> Counter[str]:
        """Return how many files wait for what; `settling` is one of the reasons."""
        return Counter(seen.reason for seen in self._seen.values())

    @staticmethod
    def _put_off(seen: _Seen, now_s: float) -> None:
        seen.times += 1
        wait_s = min(_PARKED_MAX_S, _PARKED_S * 2.0 ** min(seen.times - 1, 10))
        # All that wait equally long are due together, so that ten thousand of them cost one look in that time.
        seen.next_s = (now_s // wait_s + 1) * wait_s
