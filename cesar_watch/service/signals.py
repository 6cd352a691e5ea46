"""What people and the service manager ask for by signals.

SIGTERM or SIGINT: stop. A second one exits at once. SIGHUP: read the settings again.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from types import FrameType

from cesar_watch.core.held_signals import ASKING, let_go
from cesar_watch.service.attempt import Stop


class Signals:
    """The requests so far. Owned by the main thread.

    `stop` is shared with the actors. While `serving` is unset nothing runs yet that would have to be ended in order,
    and whatever is half-way is put right by the next start: so a stop ends the process at once, with exit code 0, and
    unwinds nothing. An exception out of a handler may come where no library is prepared for one, or be swallowed.
    Once it is set, handlers only set flags.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.stop = Stop()
        self.reload_asked = False
        self.serving = False
        self._monotonic_s = monotonic_s
        self._stop_asked = False

    def install(self) -> None:
        """Answer signals from now on, and to the end of the process: a late SIGHUP must not kill it while it ends."""
        for number in ASKING:
            signal.signal(number, self._answer)
        let_go()

    def _answer(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.reload_asked = True
            return
        if self._stop_asked:
            os._exit(128 + number)
        self._stop_asked = True
        # A drain that has nothing left to do may have begun to stop by itself.
        if self.stop.since_s is None:
            self.stop.since_s = self._monotonic_s()
        if not self.serving:
            os._exit(0)
