"""One life of the service for the fault harness: real spool, ledger and actors, turn by turn; time by hand.

Single-threaded, so that the N-th mutating call is the same call each time a scenario is lived.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cesar_watch.core.config import NotifySettings, Settings
from cesar_watch.core.errors import AttemptError, CesarError, Kind
from cesar_watch.core.job import TERMINAL, Job, Request, State
from cesar_watch.core.notice import NoticeStatus
from cesar_watch.core.spool import create_spool
from cesar_watch.service import recovery
from cesar_watch.service.actor_thread import Actor, ActorThread
from cesar_watch.service.attempt import Stop
from cesar_watch.service.clerk import Clerk
from cesar_watch.service.courier import Courier
from cesar_watch.service.house import House, open_house
from cesar_watch.service.intake import Intake
from cesar_watch.service.places import Places
from cesar_watch.service.worker import Worker
from cesar_watch.speech.protocol import Event, Failed, Finished, Loaded, Loading, Started, Transcribe, WindowDone
from tests.fakes import window
from tests.faults.preload import Faultline
from tests.service_builders import CHANNEL, HandClock

TOO_MANY_TURNS = 400
"""No scenario needs so many: the service is going in circles."""
PATIENCE = 6
"""So many turns in a row that end in a pause, and the person looking on gives up waiting."""


@dataclass(frozen=True)
class Place:
    """Where one point of a sweep happens. `delivered` is outside of what faults can reach."""

    root: Path
    state_dir: Path
    delivered: Path

    @property
    def occupied(self) -> Path:
        """The note that strangers' files have appeared in the act."""
        return self.delivered.with_name(f"{self.delivered.name}.occupied")

    def settings(self, /, **sections: Any) -> Settings:
        """Return the settings of all lives; `sections` replace keys in their section."""
        values: dict[str, Any] = {
            "spool": {"root": self.root, "state_dir": self.state_dir, "watch_mode": "poll", "recursive": True},
            "output": {"formats": ["txt", "json"], "sidecar_every_s": 0.001},
            "retry": {"max_attempts": 3},
            "notify": [CHANNEL],
        }
        return Settings(
            **{name: values.get(name, {}) | keys for name, keys in sections.items()}
            | {name: keys for name, keys in values.items() if name not in sections}
        )


CUT_SHORT = b"RIFF    WAVEdata    "
"""A WAV header whose sizes, four spaces, promise half a gigabyte."""


def spoken(content: bytes) -> str:
    """Return what is said in a recording: its bytes are the words."""
    return content.removeprefix(CUT_SHORT).decode()


Interruption = Exception | Callable[[], None]
"""What happens behind the first window of an attempt: the engine's failure, or something in the world."""


class SpeakingEngine:
    """An engine that hears in a recording the words that its bytes spell: two windows, whatever happens between.

    Args:
        interruptions: By file name, what happens behind the first window, attempt after attempt; the last one
            happens in all further attempts, None lets the attempt go through. The key `name/end` stands for behind
            the last window.
    """

    def __init__(self, interruptions: Mapping[str, list[Interruption | None]] | None = None) -> None:
        self.meet(interruptions or {})

    def meet(self, interruptions: Mapping[str, list[Interruption | None]]) -> None:
        """Meet these interruptions from now on, and no others."""
        self._interruptions = {name: list(steps) for name, steps in interruptions.items()}

    def transcribe(
        self,
        request: Transcribe,
        *,
        poll: Callable[[], None],
        poll_every_s: float = 0.5,
        is_ending: Callable[[], bool] = lambda: False,
    ) -> Generator[Event, None, None]:
        """Yield the events of one attempt, as `speech.protocol.Engine` promises."""
        poll()
        yield Loading()
        yield Loaded(device="cpu", compute_type="float32", load_s=0.0)
        source = Path(request.path)
        try:
            words = spoken(source.read_bytes()).split()
        except OSError as fault:
            yield Failed.from_fault(AttemptError(f"can't be read: {fault}", reason="source_unreadable"))
            return
        yield Started(declared_s=20.0, expected_s=20.0)
        half = len(words) // 2
        for index, text in enumerate((words[:half], words[half:])):
            if index >= request.first_index:
                poll()
                yield WindowDone(window=window(index, " ".join(text)))
                if is_ending():
                    yield Failed.concluded()
                    return
            if interruption := self._next(source.name if index == 0 else f"{source.name}/end"):
                if isinstance(interruption, AttemptError) and interruption.reason == "engine_crashed":
                    raise interruption
                if isinstance(interruption, Exception):
                    yield Failed.from_fault(interruption)
                    return
                interruption()
        yield Finished(duration_s=20.0, declared_s=20.0, skipped_packets=0)

    def _next(self, name: str) -> Interruption | None:
        steps = self._interruptions.get(name, [None])
        return steps.pop(0) if len(steps) > 1 else steps[0]

    def unload_if_idle(self, now_s: float) -> bool:
        """Nothing is ever loaded."""
        return False

    def close(self) -> None:
        """Nothing is held."""


class Life:
    """An open house and its three actors."""

    def __init__(self, place: Place, house: House, hand: HandClock, engine: SpeakingEngine) -> None:
        self.place = place
        self.house = house
        self.hand = hand
        self.stop = Stop()
        self.engine = engine
        self.refusals: list[CesarError] = []
        self.while_copying: list[Callable[[], None]] = []
        self.intake = Intake(house, wake=threading.Event(), poll=self._poll)
        places = Places(lambda _: engine)
        self.worker = Worker(house, stop=self.stop, places=places)
        self.actors: list[Actor] = [
            self.intake,
            Clerk(house, places),
            self.worker,
            Courier(house, sender=self._deliver),
        ]
        self.threads = [
            ActorThread(actor, wake=threading.Event(), stop=self.stop, clock=house.clock) for actor in self.actors
        ]

    def _poll(self) -> None:
        if self.while_copying:
            self.while_copying.pop()()

    def _deliver(self, _channel: NotifySettings, title: str, _body: str, _attach: Path | None) -> None:
        """Stand for a server that answers with an error while there are refusals left."""
        if self.refusals:
            raise self.refusals.pop(0)
        with self.place.delivered.open("a") as stream:
            stream.write(json.dumps({"title": title}) + "\n")

    def run_out(self) -> None:
        """Take turns until nothing is left to do, or until pauses have used up a person's patience."""
        paused = 0
        for _ in range(TOO_MANY_TURNS):
            waits = [thread.turn() for thread in self.threads]
            faults = [thread.fault for thread in self.threads if thread.fault is not None]
            paused = paused + 1 if faults else 0
            if paused > PATIENCE or self.stop.since_s is not None:
                return
            if not faults and min(waits) > 0 and self._is_idle():
                return
            self.hand.move(61)
        raise AssertionError("the service goes in circles")

    def _is_idle(self) -> bool:
        counts = self.house.ledger.counts()
        waiting = sum(counts[state] for state in State if state not in TERMINAL)
        return (
            not waiting and not self.intake.settling and self.house.ledger.notices.counts()[NoticeStatus.PENDING] == 0
        )

    def jobs(self, name: str) -> list[Job]:
        """Return the jobs of recordings of this name."""
        return [job for job in self.house.ledger.jobs() if os.fsdecode(job.name) == name]

    def ask(self, name: str, request: Request, *states: State) -> None:
        """Ask, as a person's command does, for every job of this name that is in one of the states."""
        for job in self.jobs(name):
            if job.state in states:
                self.house.ledger.ask(job, request)


@contextlib.contextmanager
def alive(place: Place, engine: SpeakingEngine, /, *, start_counts: bool = True, **sections: Any) -> Iterator[Life]:
    """Start the service: open the house and put right what an earlier life left.

    Args:
        start_counts: Whether the calls of the start count, for the fault that is armed.
    """
    hand = HandClock()
    with contextlib.ExitStack() as stack:
        with contextlib.nullcontext() if start_counts else world():
            house = stack.enter_context(open_house(place.settings(**sections), hand.clock()))
            recovery.recover(house)
        life = Life(place, house, hand, engine)
        try:
            yield life
        finally:
            for actor in life.actors:
                actor.close()


def try_alive(
    place: Place,
    engine: SpeakingEngine,
    act: Callable[[Life], None],
    /,
    *,
    start_counts: bool = True,
    **sections: Any,
) -> bool:
    """Start and act; return False where the start or the act ended in an error that is told to a person.

    Raises:
        Exception: Anything that a person would see as a traceback.
    """
    try:
        with alive(place, engine, start_counts=start_counts, **sections) as life:
            act(life)
    except (CesarError, OSError) as fault:
        if isinstance(fault, CesarError) and fault.kind is not Kind.SYSTEMIC:
            raise
        return False
    return True


@contextlib.contextmanager
def world() -> Iterator[None]:
    """Do something that is not the service's doing: no call in here counts or fails."""
    with Faultline.paused():
        yield


def make_place(folder: Path, state_dir: Path | None = None) -> Place:
    """Make an empty spool in a folder."""
    root = folder / "spool"
    root.mkdir()
    create_spool(root)
    return place_in(folder, state_dir)


def place_in(folder: Path, state_dir: Path | None = None) -> Place:
    """Return the place that `make_place` made in a folder, or a copy of it."""
    root = folder / "spool"
    return Place(root, state_dir or root / ".state", folder / "delivered")
