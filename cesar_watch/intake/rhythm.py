"""How often the inbox is looked through.

Watched folders are looked through every `spool.rescan_s`, since events get lost. Where there are no events, a look
comes every `spool.poll_s`, later the longer nothing came: after a sixtieth of that time, so that after an hour it is
once a minute and a disk may sleep.

Whatever wakes the caller, looking takes at most a tenth of the time; of the last two looks the cheaper counts, since a
single slow one proves nothing (the first, a disk that had to spin up).
"""

from __future__ import annotations

import math

from cesar_watch.core.config import SpoolSettings

STRETCH = 60.0
"""A poll comes after this part of the time in which nothing came..."""
LONGEST_POLL_S = 60.0
"""... and at least this often, unless the settings say more rarely."""
COST_SHARE = 0.1


class Rhythm:
    """When the next look is wanted, and when it is allowed. All `now_s` are monotonic seconds. Owned by one thread."""

    def __init__(self) -> None:
        self._changed_s: float | None = None
        self._cost_s = 0.0
        self._rests_until_s = -math.inf

    def rest_s(self, now_s: float) -> float:
        """Return for how long no look is allowed yet, 0 if it is."""
        return max(0.0, self._rests_until_s - now_s)

    def looked(self, now_s: float, cost_s: float, *, is_changed: bool) -> None:
        """Take in a look that began at `now_s`, how long it took, and whether it found anything that is new."""
        if is_changed or self._changed_s is None:
            self._changed_s = now_s
        self._rests_until_s = now_s + min(cost_s, self._cost_s) / COST_SHARE
        self._cost_s = cost_s

    def next_s(self, now_s: float, spool: SpoolSettings, *, is_watched: bool) -> float:
        """Return the seconds until the next look when nothing wakes the caller and no file is due."""
        if is_watched:
            return spool.rescan_s
        silence_s = now_s - (now_s if self._changed_s is None else self._changed_s)
        return max(spool.poll_s, min(silence_s / STRETCH, LONGEST_POLL_S))
