"""The neighbours: other instances on the same spool see that this one lives, and what a dead one left is taken over."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from cesar_watch.core.errors import CesarError
from cesar_watch.core.sign_of_life import BEAT_S, SignOfLife
from cesar_watch.service.house import House
from cesar_watch.service.takeover import carry_out_adoptions

TURN_S = 2.0
"""How often the ledger is looked at for work to give a sign of, and for what people asked."""


class Neighbours:
    """Owned by its thread, so that nothing else's long turn holds up the beat.

    Args:
        taken: Called when there is something new to work on.
    """

    name = "neighbours"

    def __init__(self, house: House, *, taken: Callable[[], None] = lambda: None) -> None:
        self._house = house
        self._taken = taken
        self._sign = SignOfLife(house.spool.processing)
        self._beat_at_s: float | None = None
        self._is_shown = True  # an earlier life may have left one

    def show(self) -> None:
        """Beat at the start, before there is a turn: putting right what an earlier life left may take minutes.

        Raises:
            OSError: The sign can't be written.
        """
        self._sign.beat(self._house.clock.now())

    def turn(self, now_s: float) -> float:
        """Do what is due: beat while there is work, and take over what was asked for.

        Raises:
            CesarError, OSError: A systemic fault: the spool or the ledger can't be written.
        """
        self._house.spool.check()
        if carry_out_adoptions(self._house):
            self._taken()
        if not self._house.ledger.adoptions.is_there_work():
            self._rest()
        elif self._beat_at_s is None or now_s - self._beat_at_s >= BEAT_S:
            self._is_shown = True
            self._sign.beat(self._house.clock.now())
            self._beat_at_s = now_s
        return TURN_S

    def _rest(self) -> None:
        if self._is_shown:
            self._sign.rest()
            self._is_shown, self._beat_at_s = False, None

    def close(self) -> None:
        """Take the sign away if no work is left, and let go of the lock; one that stays tells of which host it is."""
        with contextlib.suppress(CesarError, OSError):
            if not self._house.ledger.adoptions.is_there_work():
                self._rest()
        self._sign.close()
