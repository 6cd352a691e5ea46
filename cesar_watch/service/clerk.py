"""The clerk: sees to what people asked for, however long the workers are busy, and even while they pause."""

from __future__ import annotations

from cesar_watch.service.house import House
from cesar_watch.service.places import Places
from cesar_watch.service.requests import carry_out_requests

IDLE_S = 1.0
"""How often the ledger is looked at for requests."""


class Clerk:
    """Owned by a thread of its own."""

    name = "clerk"

    def __init__(self, house: House, places: Places) -> None:
        self._house = house
        self._places = places

    def turn(self, now_s: float) -> float:
        """Carry out all requests that can be seen to now. Returns the seconds until the next turn is wanted.

        Raises:
            CesarError, OSError: A systemic fault; the requests stay noted.
        """
        self._house.spool.check()
        with self._places.deciding:
            carry_out_requests(self._house)
        return IDLE_S

    def close(self) -> None:
        """Nothing is held."""
