"""What follows from the faults that pause the actors: people are told, and on a full disk the ballast goes.

The rule for telling, so that a flapping share does not buzz a phone over and over: a pause is told once it has
lasted for `TOLD_AFTER_S`, and it lasts until nothing was wrong for `OVER_AFTER_S`; its end is told only
if it was told itself. So a pause of a few seconds is nobody's business, and ten of them in a row are one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence

from cesar_watch.core.errors import CesarError
from cesar_watch.core.humanize import duration
from cesar_watch.core.notice import Notice
from cesar_watch.delivery.notices import service_notices
from cesar_watch.service.house import House

TOLD_AFTER_S = 30.0
OVER_AFTER_S = 120.0


class Pauses:
    """Owned by the thread that calls `look`, a few times a second.

    Args:
        tell: Takes the notices that are to be sent; they can't go through the ledger, which may be what is broken.
    """

    def __init__(self, house: House, tell: Callable[[Iterable[Notice]], None]) -> None:
        self._house = house
        self._tell = tell
        self._seen: Sequence[CesarError] = ()
        self._message = ""
        self._began_s: float | None = None
        self._well_since_s: float | None = None
        self._is_told = False

    def look(self, faults: Sequence[CesarError], now_s: float) -> None:
        """Take in which faults pause actors now, most important first; `now_s` is monotonic."""
        self._shift_ballast(faults)
        self._seen = faults
        if faults:
            self._look_at_pause(str(faults[0]), now_s)
        elif self._began_s is not None:
            self._look_at_recovery(self._began_s, now_s)

    def _shift_ballast(self, faults: Sequence[CesarError]) -> None:
        # Only for a fault that was met just now: what an actor has not yet looked into again may be over.
        fresh = (fault for fault in faults if not any(fault is old for old in self._seen))
        if any(fault.reason == "disk_full" for fault in fresh):
            self._house.ballast.release()
        elif not faults and self._seen:
            with contextlib.suppress(CesarError):
                self._house.ballast.restore()

    def _look_at_pause(self, message: str, now_s: float) -> None:
        self._began_s = now_s if self._began_s is None else self._began_s
        self._well_since_s = None
        self._message = message
        if not self._is_told and now_s - self._began_s >= TOLD_AFTER_S:
            self._is_told = True
            self._tell(service_notices("paused", message, self._house.settings.notify))

    def _look_at_recovery(self, began_s: float, now_s: float) -> None:
        self._well_since_s = now_s if self._well_since_s is None else self._well_since_s
        if now_s - self._well_since_s < OVER_AFTER_S:
            return
        if self._is_told:
            lasted = duration(self._well_since_s - began_s)
            message = f"It goes on by itself. For {lasted} it was paused: {self._message}"
            self._tell(service_notices("resumed", message, self._house.settings.notify))
        self._began_s, self._well_since_s, self._is_told = None, None, False
