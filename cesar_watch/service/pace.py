"""How fast an attempt goes: percent, real-time factor, time left. Arithmetic only; times are passed in."""

from __future__ import annotations

YEAR_S = 365 * 86_400.0


class Pace:
    """The progress of one attempt, which may have begun behind windows of an earlier one."""

    def __init__(self, started_s: float, sidecar_every_s: float, usual_rtf: float | None = None) -> None:
        """Begin an attempt.

        Args:
            usual_rtf: The real-time factor to expect until this attempt has one of its own.
        """
        self._started_s = started_s
        self._sidecar_every_s = sidecar_every_s
        self._sidecar_s = started_s
        self._first_done_s: float | None = None
        self._rate = usual_rtf

    def seen(self, done_s: float, now_s: float) -> None:
        """Note that the recording is done up to `done_s`; the first report only tells where this attempt began."""
        if self._first_done_s is None:
            self._first_done_s = done_s
        elif done_s > self._first_done_s:
            self._rate = (now_s - self._started_s) / (done_s - self._first_done_s)

    def percent(self, done_s: float, expected_s: float | None) -> float:
        """Return 0-99; the last percent is the publishing. 0 while the length is not known."""
        return min(99.0, 100.0 * done_s / expected_s) if expected_s else 0.0

    def remaining_s(self, done_s: float, expected_s: float | None) -> float | None:
        """Return the seconds of work left at this attempt's pace, or the usual one; None while neither is known.

        None as well for more than a year: the process stood still for long, or the header lies.
        """
        if self._rate is None or not expected_s:
            return None
        left_s = max(0.0, expected_s - done_s) * self._rate
        return left_s if left_s < YEAR_S else None

    def rtf(self, took_s: float, duration_s: float) -> float | None:
        """Return the real-time factor of this attempt: processing seconds over audio seconds.

        None when it had nothing to decode, because an earlier attempt had done everything.
        """
        worked_s = 0.0 if self._first_done_s is None else duration_s - self._first_done_s
        return took_s / worked_s if worked_s > 0 else None

    def sidecar_due(self, now_s: float) -> bool:
        """Whether the sidecar may be written again; asking counts as writing."""
        if now_s - self._sidecar_s < self._sidecar_every_s:
            return False
        self._sidecar_s = now_s
        return True
