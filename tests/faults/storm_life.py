"""One life in a fork storm: the whole supervisor, with an engine that only spells and a network that is a file."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import traceback
from collections.abc import Generator
from pathlib import Path
from random import Random
from typing import Any, NoReturn

from cesar_watch.core.config import NotifySettings, Settings
from cesar_watch.core.errors import RecordingError
from cesar_watch.service import intake, supervisor, worker
from cesar_watch.service.house import open_house
from cesar_watch.service.signals import Signals
from cesar_watch.service.supervisor import Supervisor
from cesar_watch.service.systemd import sd_notify
from cesar_watch.speech.protocol import Event, Failed, Finished, Transcribe
from tests.faults.life import Place, SpeakingEngine

HEARD = "HEARD=1"
"""What the engine tells the harness when a recording is done, and the service is about to end its job."""
BEAT_S = (0.0005, 0.003)
"""How long the engine takes for an event."""
WORDS = ("ash", "birch", "cedar", "elm", "fir", "hazel", "larch", "maple", "oak", "pine", "rowan", "willow", "yew")


class UnhurriedEngine(SpeakingEngine):
    """Takes a moment for every event, so that a kill may come between any two."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random
        self._never = threading.Event()

    def transcribe(self, request: Transcribe, **polling: Any) -> Generator[Event, None, None]:
        """Spell, as `SpeakingEngine` does; recordings whose name begins with "bad" are refused."""
        if Path(request.path).name.startswith("bad"):
            self._interruptions[Path(request.path).name] = [RecordingError("It is refused.", reason="not_media")]
        for event in super().transcribe(request, **polling):
            self._never.wait(self._random.uniform(*BEAT_S))
            if isinstance(event, Finished | Failed):
                sd_notify(HEARD)
            yield event


AS_USUAL: dict[str, Any] = {
    "settings": {},
    "keep": {},
    "later": {},
    "own_attempts": 0,
    "rebuilt": False,
    "sidecar_away": False,
    "two_names": False,
}
"""What the checker is told beside the recordings: nothing that it would have to make allowances for."""


def content_of(name: str) -> bytes:
    """Return the bytes of a recording: words that tell it from every other."""
    digest = hashlib.sha256(name.encode()).digest()
    return " ".join([name.replace(".", " "), *(WORDS[byte % len(WORDS)] for byte in digest[:6])]).encode()


def live(place: Place, settings: Settings, random: Random, *, drain: bool) -> NoReturn:
    """Be the service, in this process, until it ends; the shared waits are shortened to fit so short a life."""
    status = 99
    try:
        os.setpgid(0, 0)
        signals = Signals()
        signals.install()
        logging.basicConfig(filename=place.delivered.with_name("log"), level=logging.INFO, force=True)
        intake.SHORTEST_TURN_S = 0.002
        worker.IDLE_S = 0.02
        supervisor.TICK_S = 0.01
        with open_house(settings) as house:
            status = Supervisor(
                house,
                reload=lambda: settings,
                drain=drain,
                signals=signals,
                maker=lambda _: UnhurriedEngine(random),
                sender=lambda *message: _deliver(place, *message),
            ).run()
    except BaseException:
        logging.getLogger().error("%s", traceback.format_exc())
    finally:
        os._exit(status)


def _deliver(place: Place, _channel: NotifySettings, title: str, _body: str, _attach: Path | None) -> None:
    with place.delivered.open("a") as stream:
        stream.write(json.dumps({"title": title}) + "\n")
