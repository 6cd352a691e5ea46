"""The whole service in this process, in its real threads, with an engine process that does what tests ask for."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cesar_watch.core.job import Job, Request, State
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.core.spool import create_spool
from cesar_watch.service.house import House, open_house
from cesar_watch.service.signals import Signals
from cesar_watch.service.supervisor import Supervisor
from cesar_watch.speech.engine_process import EngineProcess
from cesar_watch.speech.protocol import Engine, Setup
from tests import scripted_engine
from tests.processes import until
from tests.service_builders import settings_for, sound_of

LIMIT_S = 60.0


def scripted(*arguments: str, setup: Setup | None = None, idle_unload_s: float = 0.0) -> EngineProcess:
    """Return an engine whose process does what the names of the recordings ask for."""
    command = [sys.executable, scripted_engine.__file__, *arguments]
    return EngineProcess(setup or Setup(model_path=""), command=command, idle_unload_s=idle_unload_s)


@dataclass
class Running:
    """A service that runs in a thread of this process.

    Attributes:
        told: The titles of the notices that were sent.
    """

    house: House
    supervisor: Supervisor
    signals: Signals
    thread: threading.Thread
    told: list[str]

    def drop(self, name: str, content: bytes | None = None) -> None:
        """Put a recording into the inbox, at once."""
        drop_into(self.house.spool.inbox, name, content)

    def jobs(self) -> dict[str, Job]:
        """Return all jobs by the names of their recordings."""
        return {job.display_name: job for job in self.house.ledger.jobs()}

    def until(self, name: str, *states: State) -> Job:
        """Wait until a job is in one of these states, and return it."""

        def found() -> Job | None:
            job = self.jobs().get(name)
            return job if job is not None and job.state in states else None

        job: Job = until(found, f"{name}: {states}", LIMIT_S)
        return job

    def until_done_s(self, name: str, seconds: float) -> Job:
        """Wait until so much of a recording is durable."""

        def found() -> Job | None:
            job = self.jobs().get(name)
            return job if job is not None and job.done_s >= seconds else None

        job: Job = until(found, f"{seconds} s of {name}", LIMIT_S)
        return job

    def until_at_work(self, *names: str) -> None:
        """Wait until these recordings are in work."""
        for name in names:
            self.until(name, State.PROCESSING)

    def cancel(self, name: str) -> None:
        """Ask for a job's end."""
        self.house.ledger.ask(self.jobs()[name], Request.CANCEL)

    def events(self, name: str) -> list[tuple[str, str | None]]:
        """Return what happened to a job, each with its reason."""
        return [(row["event"], row["reason"]) for row in self.house.ledger.history(self.jobs()[name])]

    def stop(self) -> None:
        """Ask the service to stop, and wait until it has."""
        self.signals.stop.since_s = self.signals.stop.since_s or self.house.clock.monotonic_s()
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive(), "the service goes on"


def drop_into(inbox: Path, name: str, content: bytes | None = None) -> None:
    """Put a recording into an inbox by a rename; without `content` it sounds like no other."""
    arriving = inbox / f".{name}.arriving"
    arriving.write_bytes(sound_of(name) if content is None else content)
    arriving.rename(inbox / name)


@contextlib.contextmanager
def running(
    root: Path, maker: Callable[[EngineSettings], Engine], /, *names: str, **sections: Any
) -> Iterator[Running]:
    """Run the service on a spool into whose inbox these recordings were dropped before; stopped at the end."""
    create_spool(root)
    for name in names:
        drop_into(root / "inbox", name)
    sections["spool"] = {"quiet_s": 0.1, "watch_mode": "auto", **sections.get("spool", {})}
    sections["engine"] = {"workers": 2, "threads": 1, **sections.get("engine", {})}
    settings = settings_for(root, **sections)
    told: list[str] = []
    with open_house(settings) as house:
        signals = Signals()
        supervisor = Supervisor(
            house,
            reload=lambda: settings,
            maker=maker,
            sender=lambda channel, title, body, attach: told.append(title),
            signals=signals,
        )
        thread = threading.Thread(target=supervisor.run, name="service")
        thread.start()
        service = Running(house, supervisor, signals, thread, told)
        try:
            yield service
        finally:
            service.stop()
