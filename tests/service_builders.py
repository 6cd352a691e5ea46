"""An open house on a real spool and ledger, with a clock that tests move by hand."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cesar_watch.core.config import Settings
from cesar_watch.core.job import Job, State
from cesar_watch.core.spool import create_spool
from cesar_watch.service import recovery
from cesar_watch.service.attempt import Stop
from cesar_watch.service.clerk import Clerk
from cesar_watch.service.house import Clock, House, open_house
from cesar_watch.service.intake import Intake
from cesar_watch.service.places import Places
from cesar_watch.service.worker import Worker
from cesar_watch.speech.protocol import Engine

CHANNEL = {"url": "json://127.0.0.1:9/nobody"}


@dataclass
class HandClock:
    """Stands still until moved."""

    elapsed_s: float = 1000.0
    start: datetime = field(default_factory=lambda: datetime(2026, 3, 1, 12, 0, tzinfo=UTC))

    def move(self, seconds: float) -> None:
        self.elapsed_s += seconds

    def set_wall(self, by: timedelta) -> None:
        """Set the wall clock forward or back; monotonic time does not notice."""
        self.start += by

    def clock(self) -> Clock:
        return Clock(lambda: self.elapsed_s, lambda: self.start + timedelta(seconds=self.elapsed_s - 1000))


def sound_of(name: str) -> bytes:
    """Return the bytes of a recording of this name, where a test does not say which."""
    return b"the sound of " + os.fsencode(name)


@dataclass
class Rig:
    """One life of the service, taken turn by turn."""

    house: House
    hand: HandClock
    engine: Engine
    stop: Stop = field(default_factory=Stop)

    def __post_init__(self) -> None:
        self.intake = Intake(self.house, wake=threading.Event())
        places = Places(lambda settings: self.engine)
        self.clerk = Clerk(self.house, places)
        self.worker = Worker(self.house, stop=self.stop, places=places)

    def drop(self, name: str, content: bytes | None = None) -> Path:
        """Put a recording into the inbox; without `content` it sounds like no other that has another name."""
        path = self.house.spool.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sound_of(name) if content is None else content)
        return path

    def claim_all(self) -> list[Job]:
        """Let the inbox settle and be claimed."""
        self.intake.turn(self.hand.elapsed_s)
        self.hand.move(60)
        self.intake.turn(self.hand.elapsed_s)
        return self.house.ledger.jobs([State.PENDING])

    def work(self) -> None:
        """See to what was asked for, then take worker turns until nothing is due."""
        self.clerk.turn(self.hand.elapsed_s)
        while self.worker.turn(self.hand.elapsed_s) == 0.0:
            pass

    def only_job(self) -> Job:
        (job,) = self.house.ledger.jobs()
        return job

    def sidecar(self, base: str = "talk") -> dict[str, Any]:
        fields: dict[str, Any] = json.loads((self.house.spool.outbox / f"{base}.status.json").read_bytes())
        return fields

    def files(self) -> list[str]:
        """Return every file of the spool but the state directory and the marker, relative to the root."""
        root = self.house.spool.root
        found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        return sorted(str(path) for path in found if path.parts[0] not in (".state", ".cesar-watch"))


def settings_for(root: Path, **sections: Any) -> Settings:
    """Return settings for a spool with few formats; `sections` replace keys in their section."""
    values: dict[str, Any] = {
        "spool": {"root": root, "watch_mode": "poll"},
        "output": {"formats": ["txt", "json"]},
        "notify": [CHANNEL],
    }
    for section, keys in sections.items():
        values[section] = values.get(section, {}) | keys if isinstance(keys, dict) else keys
    return Settings(**values)


@contextlib.contextmanager
def open_rig(root: Path, engine: Engine, /, *, hand: HandClock | None = None, **sections: Any) -> Iterator[Rig]:
    """Open a house on a spool, made where it is missing, and recover what an earlier life left."""
    create_spool(root)
    hand = hand or HandClock()
    with open_house(settings_for(root, **sections), hand.clock()) as house:
        recovery.recover(house)
        rig = Rig(house, hand, engine)
        try:
            yield rig
        finally:
            rig.intake.close()
            rig.worker.close()
