"""The fork storm: the whole supervisor in forked processes, killed a few milliseconds after its start.

Real threads, real inotify, real SQLite, one life in one process forked from a parent that has imported everything and
holds nothing; only the engine (which spells) and the network are stand-ins. After every so many kills the queue runs
out undisturbed, the independent checker looks, and a fresh spool begins. Each shard is a process of its own.

    python -m tests.faults.storm_fork FOLDER KILLS SEED SHARD SIGNALS

writes a JSON line for every round. It is started, and added up, by `tests.faults.storm`.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from cesar_watch.core.config import Settings
from cesar_watch.core.held_signals import hold, let_go
from tests.faults.checker import Checker
from tests.faults.life import Place, make_place
from tests.faults.storm_life import AS_USUAL, HEARD, content_of, live

KILLS_A_ROUND = 50
MOMENTS: dict[str, tuple[int, tuple[float, float]]] = {
    "": (25, (0.001, 0.025)),
    "READY=1": (25, (0.0, 0.030)),
    HEARD: (50, (0.0, 0.020)),
}
"""Lives are struck so long after they began, or said this; and the weight of each. Behind `HEARD` lie all endings."""
LONGEST_WAIT_S = 0.3
"""A service that does not say so within this time has nothing to do."""
DROPS_A_LIFE = (0, 1, 1, 2)
ENDINGS = (".mp3", ".wav")
BAD_SHARE = 0.1
"""This share of the recordings is refused by the engine, and must end in failed/."""
SAY_EVERY_S = 10.0
RUN_OUT_S = 60.0
LAST_WORDS = 3000
"""So many characters of the log of a life that should not have ended as it did."""
GRACE_S = 30.0
"""A service that was asked to stop must be gone by then."""


@dataclass
class Round:
    """What one round, or several together, amounted to."""

    kills: int = 0
    killed_ready: int = 0
    killed_ending: int = 0
    stops: int = 0
    hangups: int = 0
    freezes: int = 0
    recordings: int = 0
    finished_before_the_run_out: int = 0
    rounds: int = 0
    violations: list[str] = field(default_factory=list)

    def add(self, other: dict[str, Any]) -> None:
        """Count another round in."""
        for name, value in other.items():
            setattr(self, name, getattr(self, name) + value)


@dataclass
class Report(Round):
    """What the storm found; `stops` are lives that ended by a signal that asks for it."""

    seed: int = 0
    shards: int = 0
    signals: str = ""
    took_s: float = 0.0

    def lines(self) -> list[str]:
        """Return the report for a person."""
        return [
            f"{self.kills} kills ({self.killed_ready} just after the start, {self.killed_ending} while a job was "
            f"ended, the others while starting or idle) in {self.took_s:.0f} s, "
            f"{self.kills / max(self.took_s, 1e-9):.1f} a second; seed {self.seed}, {self.shards} shards, "
            f"signals {self.signals}",
            f"{self.stops} ended in order, {self.hangups} times SIGHUP, {self.freezes} times SIGSTOP and SIGCONT",
            f"{self.recordings} recordings on {self.rounds} spools, {self.finished_before_the_run_out} of them "
            "finished between kills, the others when the queue ran out",
        ]


class Shard:
    """One process that forks lives, kills them, and has the checker look."""

    def __init__(self, folder: Path, seed: int, shard: int, *, mixed: bool) -> None:
        self._folder = folder
        self._random = Random(f"{seed}/{shard}")
        self._mixed = mixed
        self._checker = Checker()
        self._child = 0
        self._number = 0
        self._ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ear.bind(str(folder / "notify"))

    def close(self) -> None:
        """Leave nothing running."""
        if self._child:
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            self._child = 0
        self._checker.close()
        self._ear.close()

    def round(self, kills: int) -> Round:
        """Kill so many lives on one fresh spool, let it run out, and look."""
        round = Round(rounds=1)
        folder = self._folder / f"round-{self._number}"
        self._number += 1
        folder.mkdir()
        place = make_place(folder)
        settings = place.settings(
            spool={"quiet_s": 0, "watch_mode": "events", "rescan_s": 0.05},
            retry={"max_attempts": 3, "backoff_s": 0.001, "backoff_max_s": 0.002},
        )
        dropped: list[str] = []
        while round.kills < kills:
            self._drop(place, dropped)
            self._live(place, settings, round)
        round.finished_before_the_run_out = len(_rest_in(place))
        self._run_out(place, settings, round)
        round.recordings = len(dropped)
        expected = AS_USUAL | {"recordings": [_expected(name) for name in dropped]}
        faults = round.kills + round.stops
        wrong = self._checker.check(place.root, place.state_dir, place.delivered, "R", expected, faults=faults)
        round.violations += [f"{folder.name}: {words}" for words in wrong]
        if round.violations:
            round.violations += [f"{folder.name}: log: {line}" for line in _log(place).splitlines()[-40:]]
        shutil.rmtree(folder)
        return round

    def _drop(self, place: Place, dropped: list[str]) -> None:
        for _ in range(self._random.choice(DROPS_A_LIFE)):
            stem = "bad" if self._random.random() < BAD_SHARE else self._random.choice(("talk", "Talk", "note"))
            ending = self._random.choice(ENDINGS)
            name = f"{stem}{len(dropped) // 2}{ending}"
            if name in dropped:
                continue
            dropped.append(name)
            # Only a rename shows a recording whole: with no quiet time a copy would be taken half.
            arriving = place.root / "inbox" / f".{name}.arriving"
            arriving.write_bytes(content_of(name))
            arriving.rename(place.root / "inbox" / name)

    # --- a life and its end -----------------------------------------------------------------------

    def _fork(self, place: Place, settings: Settings, *, drain: bool) -> int:
        seed = self._random.random()
        while select.select([self._ear], [], [], 0)[0]:
            self._ear.recv(4096)
        # As the command does until it can answer signals.
        hold()
        self._child = os.fork()
        if self._child == 0:
            if not drain:  # nobody listens to a run-out, and a socket that is full makes the sender wait
                os.environ["NOTIFY_SOCKET"] = str(self._folder / "notify")
            live(place, settings, Random(seed), drain=drain)
        let_go()
        return os.pidfd_open(self._child)

    def _live(self, place: Place, settings: Settings, round: Round) -> None:
        descriptor = self._fork(place, settings, drain=False)
        words = self._random.choices(list(MOMENTS), [weight for weight, _ in MOMENTS.values()])[0]
        try:
            heard = not words or self._hears(words, descriptor)
            ended = _ends_within(descriptor, self._random.uniform(*MOMENTS[words][1]))
            if not ended and self._mixed:
                ended = self._disturb(descriptor, round)
            if not ended:
                os.kill(self._child, signal.SIGKILL)
        finally:
            os.close(descriptor)
        status = self._reap()
        if status == -signal.SIGKILL:
            round.kills += 1
            round.killed_ready += words == "READY=1" and heard
            round.killed_ending += words == HEARD and heard
        elif not self._mixed or status != 0:
            round.violations.append(f"a life ended by itself with {status}: {_log(place)[-LAST_WORDS:]}")

    def _hears(self, words: str, descriptor: int) -> bool:
        """Wait until the service says this; return False if it ended before, or does not say it."""
        until_s = time.monotonic() + LONGEST_WAIT_S
        while True:
            left_s = max(0.0, until_s - time.monotonic())
            heard, _, _ = select.select([self._ear.fileno(), descriptor], [], [], left_s)
            if self._ear.fileno() not in heard:
                return False
            if self._ear.recv(4096).decode() == words:
                return True

    def _disturb(self, descriptor: int, round: Round) -> bool:
        """Send what comes before the kill, or in its place; return whether the life has ended of it."""
        number = self._random.choice((0, 0, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGSTOP))
        if not number:
            return False
        os.kill(self._child, number)
        if number == signal.SIGHUP:
            round.hangups += 1
            return _ends_within(descriptor, self._random.uniform(0, 0.02))
        if number == signal.SIGSTOP:
            round.freezes += 1
            _ends_within(descriptor, self._random.uniform(0, 0.02))
            os.kill(self._child, signal.SIGCONT)
            return _ends_within(descriptor, self._random.uniform(0, 0.02))
        if self._random.random() < 0.5:
            return _ends_within(descriptor, self._random.uniform(0, 0.02))
        if not _ends_within(descriptor, GRACE_S):
            round.violations.append(f"signal {number} did not end the service")
            return False
        round.stops += 1
        return True

    def _run_out(self, place: Place, settings: Settings, round: Round) -> None:
        descriptor = self._fork(place, settings, drain=True)
        try:
            if not _ends_within(descriptor, RUN_OUT_S):
                round.violations.append("the queue does not run out")
                os.kill(self._child, signal.SIGKILL)
        finally:
            os.close(descriptor)
        status = self._reap()
        # 1 says that some recordings failed, as the bad ones should.
        if status not in (0, 1):
            round.violations.append(f"the run-out ended with {status}")

    def _reap(self) -> int:
        status = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
        self._child = 0
        return status


def _expected(name: str) -> dict[str, Any]:
    content = content_of(name)
    ends = ["failed"] if name.startswith("bad") else ["completed"]
    return {"name": name, "sha256": hashlib.sha256(content).hexdigest(), "ends": ends, "text": content.decode()}


def _rest_in(place: Place) -> list[Path]:
    rooms = (place.root / room for room in ("archive", "failed"))
    return [path for room in rooms for path in room.iterdir() if path.suffix in ENDINGS]


def _ends_within(descriptor: int, seconds: float) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def _log(place: Place) -> str:
    path = place.delivered.with_name("log")
    return path.read_text() if path.exists() else ""


def storm(folder: Path, *, kills: int, seed: int, shards: int, signals: str, say: Callable[[str], None]) -> Report:
    """Run the shards side by side and add up what they tell; they are gone when this ends, however it does."""
    report = Report(seed=seed, shards=shards, signals=signals)
    began_s = said_s = time.monotonic()
    with contextlib.ExitStack() as stack:
        streams = {}
        for shard in range(shards):
            (folder / str(shard)).mkdir()
            share = kills // shards + (shard < kills % shards)
            arguments = [folder / str(shard), share, seed, shard, signals]
            command = [sys.executable, "-m", __name__, *map(str, arguments)]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(process.terminate)
            assert process.stdout is not None
            streams[process.stdout] = process
        while streams:
            for stream in select.select(list(streams), [], [])[0]:
                if line := stream.readline():
                    report.add(json.loads(line))
                elif status := streams.pop(stream).wait():
                    report.violations.append(f"a shard ended with {status}")
            if time.monotonic() - said_s > SAY_EVERY_S:
                said_s = time.monotonic()
                rate = report.kills / (said_s - began_s)
                say(f"{report.kills} kills, {rate:.1f} a second; {len(report.violations)} violations")
    report.took_s = time.monotonic() - began_s
    return report


def main() -> None:
    """Run one shard, telling of every round."""
    folder, signals = Path(sys.argv[1]), sys.argv[5]
    kills, seed, number = map(int, sys.argv[2:5])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    shard = Shard(folder, seed, number, mixed=signals == "mixed")
    gc.freeze()
    try:
        while kills > 0:
            round = shard.round(min(kills, KILLS_A_ROUND))
            kills -= round.kills
            sys.stdout.write(json.dumps(vars(round)) + "\n")
            sys.stdout.flush()
    finally:
        shard.close()


if __name__ == "__main__":
    main()
