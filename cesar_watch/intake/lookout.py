"""One look at the inbox after another: what is there, what events told of it, and when the next look is due."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from cesar_watch.core.config import SpoolSettings
from cesar_watch.core.mounts import Mounts
from cesar_watch.intake.rhythm import Rhythm
from cesar_watch.intake.scan import Candidate, Rejected, Scanner
from cesar_watch.intake.watch import Hints, Watcher


class Lookout:
    """Owned by the intake thread. `hints` are those of the last look.

    Args:
        watcher: Watches the folders that are listed.
        clock: Monotonic seconds, to know what a look costs.
        mounts: Tells what is mounted now.
    """

    def __init__(
        self,
        inbox: Path,
        watcher: Watcher,
        clock: Callable[[], float],
        mounts: Callable[[], Mounts] = Mounts.now,
    ) -> None:
        self._clock = clock
        self._mounts = mounts
        self._scanner = Scanner(inbox)
        self._watcher = watcher
        self._rhythm = Rhythm()
        self._is_watched = False
        self._last: set[tuple[int, int, int] | Path] = set()
        self.hints = Hints()

    def rest_s(self, now_s: float) -> float:
        """Return the seconds until the next look is allowed, whoever wants it."""
        return self._rhythm.rest_s(now_s)

    def next_s(self, spool: SpoolSettings, now_s: float) -> float:
        """Return the seconds until the next look is due though nothing happens."""
        return self._rhythm.next_s(now_s, spool, is_watched=self._is_watched)

    def look(self, spool: SpoolSettings, now_s: float) -> Iterator[Candidate | Rejected]:
        """Yield what `Scanner.look` does, while the folders that are listed are being watched.

        Raises:
            OSError: The inbox can't be listed.
        """
        began_s = self._clock()
        self.hints = self._watcher.begin(spool, now_s)
        seen: set[tuple[int, int, int] | Path] = set()
        for found in self._scanner.look(spool, enter=self._watcher.enter, mounts=self._mounts()):
            if isinstance(found, Candidate):
                seen.add((found.stat.st_ino, found.stat.st_size, found.stat.st_mtime_ns))
            else:
                seen.add(found.path)
            yield found
        self._is_watched = self._watcher.end()
        self._rhythm.looked(now_s, self._clock() - began_s, is_changed=seen != self._last)
        self._last = seen

    def close(self) -> None:
        """Stop watching."""
        self._watcher.close()
