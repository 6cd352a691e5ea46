"""The courier: sends notices after the commit, one at a time, never in anybody's way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from cesar_watch.core.backoff import backoff_s
from cesar_watch.core.config import NotifySettings
from cesar_watch.core.errors import CesarError, Kind
from cesar_watch.core.notice import QueuedNotice
from cesar_watch.delivery.notices import find_channel
from cesar_watch.delivery.send import send
from cesar_watch.service.house import House

log = logging.getLogger(__name__)

NOTICE_ATTEMPTS = 10
"""With the default waits, a server may be away for five hours before a notice becomes a dead letter."""
IDLE_S = 5.0

Sender = Callable[[NotifySettings, str, str, Path | None], None]


class Courier:
    """Owned by the delivery thread."""

    name = "courier"

    def __init__(self, house: House, *, sender: Sender = send) -> None:
        self._house = house
        self._sender = sender

    def turn(self, now_s: float) -> float:
        """Send the oldest notice that is due. Returns the seconds until the next turn is wanted.

        Raises:
            CesarError: The ledger can't be used.
        """
        due = self._house.ledger.notices.due(self._house.clock.now())
        if due is None:
            return IDLE_S
        self._send(due)
        return 0.0

    def _send(self, queued: QueuedNotice) -> None:
        house, notice = self._house, queued.notice
        queue, now = house.ledger.notices, house.clock.now
        channel = find_channel(house.settings.notify, notice.channel)
        if channel is None:
            queue.give_up(queued, "Its channel is no longer in the settings.")
            return
        attach = house.spool.root / notice.attach if notice.attach else None
        try:
            self._sender(channel, notice.title, notice.body, attach if attach and attach.exists() else None)
        except CesarError as fault:
            if fault.kind is Kind.SYSTEMIC:
                raise
            if queued.attempts + 1 >= NOTICE_ATTEMPTS:
                queue.give_up(queued, str(fault))
                log.warning("A notice became a dead letter: %s `cesar-watch notify retry` sends it again.", fault)
                return
            wait = timedelta(seconds=backoff_s(queued.attempts + 1, house.settings.retry))
            queue.later(queued, now() + wait, str(fault))
            log.warning("A notice could not be sent: %s", fault)
            return
        queue.sent(queued, now())

    def close(self) -> None:
        """Nothing is held between turns."""
