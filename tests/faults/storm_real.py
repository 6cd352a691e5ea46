"""The real storm: the real command with its engine process, killed again and again while it works off one queue.

First the same recordings are transcribed undisturbed; then a service is started, killed at a random moment and started
again at once, until as many kills have landed as were asked for; then it runs out. At the end every recording must lie
in archive/ once, with the very transcripts of the undisturbed run.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.faults.storm_compare import differences
from tests.faults.storm_corpus import make_corpus
from tests.faults.storm_spool import WORKERS, Spool, new_spool
from tests.faults.storm_strikes import STRIKES, Chooser, ended_within

DROPPED_BEFORE = 0.5
"""This share of the queue lies in the inbox when the storm begins; the rest comes while it lasts."""
DROPPED_BY = 0.9
"""By this share of the kills everything has been dropped."""
UNDISTURBED_S = 7200.0
DEATH_S = 30.0
"""A killed process, and the engine of a killed service, must be gone by then."""
LONGEST_WAIT_S = 60.0
"""A life that has not come so far by then is killed as it is."""
ENDED_BY_ITSELF = 10
"""So many lives in a row that end before they are killed, and the storm is given up."""
MOMENTS = (
    *("before it had the spool", "recovering", "loading the model", "in a window", "between windows or publishing"),
    *("stopping", "idle"),
)
"""What a killed service was doing."""


class Moment(NamedTuple):
    """So long after so many windows of this life began or were done; after its start where `event` is empty."""

    event: str
    windows: int
    wait_s: float


@dataclass
class Pace:
    """How long things take here, as the undisturbed run showed."""

    start_s: float
    window_s: float

    def moment(self, random: Random) -> Moment:
        """Return when to kill: while it starts, while it loads the model, in the work, behind a window."""
        share = random.random()
        if share < 0.2:
            return Moment("", 0, random.uniform(0, 0.5 * self.start_s))
        if share < 0.4:
            return Moment("", 0, random.uniform(0.5, 1.0) * self.start_s)
        if share < 0.7:
            return Moment("begin", 1, random.uniform(0, 4 * self.window_s))
        # Behind a recording's last window lie publishing, archiving and the next recording's beginning.
        return Moment("done", random.randint(1, 3), random.uniform(0, 0.1))


@dataclass
class Report:
    """What the storm found."""

    recordings: int
    seed: int
    kills: int = 0
    lives: int = 0
    stops: int = 0
    by_kind: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STRIKES, 0))
    by_moment: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MOMENTS, 0))
    windows_needed: int = 0
    windows_begun: int = 0
    windows_done: int = 0
    most_done_again_of_one_life: int = 0
    undisturbed_s: float = 0.0
    storm_s: float = 0.0
    run_out_s: float = 0.0
    violations: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the report for a person."""
        wasted = f"{self.windows_begun - self.windows_needed} windows begun in vain or again"
        return [
            f"{self.kills} kills of {self.lives} lives ({self.stops} ended by a signal before the kill) in "
            f"{self.storm_s:.0f} s, {self.kills / max(self.storm_s, 1e-9):.2f} a second; seed {self.seed}",
            "how: " + ", ".join(f"{kind} {number}" for kind, number in self.by_kind.items()),
            "when: " + ", ".join(f"{moment} {number}" for moment, number in self.by_moment.items()),
            f"{self.recordings} recordings of {self.windows_needed} windows; {self.windows_done} windows done, "
            f"{wasted}; most done again of one life: {self.most_done_again_of_one_life}",
            f"undisturbed run {self.undisturbed_s:.0f} s; running out after the storm {self.run_out_s:.0f} s",
        ]


class Storm:
    """One storm in one folder."""

    def __init__(self, folder: Path, *, kills: int, recordings: int, seed: int, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._wanted = kills
        self._random = Random(seed)
        self._say = say
        self._kinds = Chooser(self._random)
        self._ended_by_itself = 0
        self.report = Report(recordings, seed)
        self._corpus = make_corpus(folder / "corpus", recordings, seed)
        self._waiting = list(self._corpus)
        self._random.shuffle(self._waiting)
        self._reference = new_spool(folder / "undisturbed")
        self._spool = new_spool(folder / "storm")

    def run(self) -> Report:
        """Carry everything out; nothing of it goes on afterwards, however this ends."""
        try:
            pace = self._undisturbed()
            self._storm(pace)
            self._run_out()
        finally:
            for spool in (self._reference, self._spool):
                spool.kill_all()
        self._count_windows()
        root, undisturbed = self._spool.root, self._reference.root
        self.report.violations += differences(root, undisturbed, self._folder / "corpus", self.report.kills)
        return self.report

    def _undisturbed(self) -> Pace:
        for recording in self._corpus:
            self._reference.drop(recording)
        began_s = time.monotonic()
        self._drain(self._reference, 0)
        report = self.report
        report.undisturbed_s = time.monotonic() - began_s
        told = self._reference.told()
        pace = Pace(told[0].at_s - began_s, (told[-1].at_s - told[0].at_s) / (len(told) / 2))
        self._say(
            f"undisturbed: {len(self._corpus)} recordings, {len(told) // 2} windows, {report.undisturbed_s:.0f} s; "
            f"{pace.start_s:.2f} s from the start to the first window, {pace.window_s:.2f} s a window"
        )
        return pace

    def _drain(self, spool: Spool, life: int) -> None:
        process = spool.start("drain", life)
        status = process.wait(UNDISTURBED_S)
        if status != 0:
            self.report.violations.append(f"the undisturbed drain of {spool.root.parent.name} ended with {status}")

    # --- the storm --------------------------------------------------------------------------------

    def _storm(self, pace: Pace) -> None:
        began_s = time.monotonic()
        report = self.report
        self._drop_until(round(DROPPED_BEFORE * len(self._corpus)))
        while report.kills < self._wanted:
            report.lives += 1
            process = self._spool.start("run", report.lives)
            landed = self._live(process, pace)
            if landed and report.kills % 10 == 0:
                rate = report.kills / (time.monotonic() - began_s)
                self._say(
                    f"{report.kills} kills, {rate:.2f} a second; {self._archived()} of {self._dropped()} completed"
                )
        report.storm_s = time.monotonic() - began_s

    def _live(self, process: subprocess.Popen[bytes], pace: Pace) -> bool:
        """See one life to its end; return whether it was a kill."""
        report = self.report
        if not self._comes_to(process, pace.moment(self._random)):
            report.violations.append(f"life {report.lives} ended by itself with {process.wait()}")
            self._ended_by_itself += 1
            if self._ended_by_itself == ENDED_BY_ITSELF:
                raise RuntimeError(f"{ENDED_BY_ITSELF} lives in a row ended by themselves: see {self._folder}")
            return False
        self._ended_by_itself = 0
        kind = self._kinds.next()
        STRIKES[kind][0](process, self._random)
        if not ended_within(process, DEATH_S):
            raise RuntimeError(f"process {process.pid} does not die")
        if process.wait() == -signal.SIGKILL:
            report.kills += 1
            report.by_kind[kind] += 1
            report.by_moment[self._moment(process.pid)] += 1
            return True
        # The kernel answers for a Python that has not begun with the program's first line.
        too_early = process.returncode == -signal.SIGTERM and not self._spool.phase(process.pid)
        if kind == "SIGTERM first" and (process.returncode == 0 or too_early):
            report.stops += 1
        else:
            report.violations.append(f"life {report.lives} ended with {process.returncode} at the strike ({kind})")
        return False

    def _comes_to(self, process: subprocess.Popen[bytes], moment: Moment) -> bool:
        """Wait for the moment, or until there is no more work; return False if the life ended before."""
        until_s = time.monotonic() + LONGEST_WAIT_S
        start = self._spool.log.stat().st_size if self._spool.log.exists() else 0
        while moment.event and time.monotonic() < until_s and self._archived() < self._dropped():
            if self._seen(start, moment.event) >= moment.windows:
                break
            if ended_within(process, 0.003):
                return False
        # While it runs, so that it hears of them.
        share = min(1.0, self.report.kills / max(1.0, DROPPED_BY * self._wanted))
        self._drop_until(round((DROPPED_BEFORE + (1 - DROPPED_BEFORE) * share) * len(self._corpus)))
        return not ended_within(process, moment.wait_s)

    def _seen(self, start: int, event: str) -> int:
        """Return how many windows of this life the log tells of behind `start`."""
        if not self._spool.log.exists():
            return 0
        with self._spool.log.open("rb") as stream:
            stream.seek(start)
            return stream.read().count(b"%d %s " % (self.report.lives, event.encode()))

    def _moment(self, pid: int) -> str:
        """Return what the life that was just killed was doing."""
        phase = self._spool.phase(pid)
        if phase in ("", "starting"):
            return {"": "before it had the spool", "starting": "recovering"}[phase]
        if phase in ("stopping", "stopped"):
            return "stopping"
        mine = [told for told in self._spool.told() if told.life == self.report.lives]
        if mine and mine[-1].event == "begin":
            return "in a window"
        if self._archived() == self._dropped():
            return "idle"
        return "between windows or publishing" if mine else "loading the model"

    def _dropped(self) -> int:
        return len(self._corpus) - len(self._waiting)

    def _drop_until(self, number: int) -> None:
        while self._dropped() < number:
            self._spool.drop(self._waiting.pop())

    def _archived(self) -> int:
        return len(os.listdir(self._spool.root / "archive"))

    def _run_out(self) -> None:
        self._drop_until(len(self._corpus))
        began_s = time.monotonic()
        self._drain(self._spool, self.report.lives + 1)
        self.report.run_out_s = time.monotonic() - began_s
        # An engine ends when its service is gone; the last few may be at it still.
        until_s = time.monotonic() + DEATH_S
        while (left := self._spool.strangers()) and time.monotonic() < until_s:
            select.select([], [], [], 0.1)
        if left:
            self.report.violations.append(f"processes {left} outlived their services")

    # --- afterwards -------------------------------------------------------------------------------

    def _count_windows(self) -> None:
        report, told = self.report, self._spool.told()
        needed = sum(line.event == "done" for line in self._reference.told())
        done: dict[tuple[str, int], list[int]] = {}
        for line in told:
            if line.event == "done":
                done.setdefault((line.job, line.window), []).append(line.life)
        in_vain = Counter(life for lives in done.values() for life in lives[:-1])
        report.windows_needed = needed
        report.windows_begun = sum(line.event == "begin" for line in told)
        report.windows_done = sum(map(len, done.values()))
        report.most_done_again_of_one_life = max(in_vain.values(), default=0)
        if len(done) != needed:
            report.violations.append(f"{len(done)} different windows were done, not {needed}")
        if report.windows_begun - needed > WORKERS * (report.kills + report.stops):
            report.violations.append(f"{report.windows_begun - needed} windows were begun in vain or again")
        if report.most_done_again_of_one_life > WORKERS:
            report.violations.append(f"one kill cost {report.most_done_again_of_one_life} finished windows")
