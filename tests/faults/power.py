"""The power-loss sweep: the plug is pulled at a mutating call; what is left must go on.

    python -m tests.faults.power --points 500 --seed 1
    python -m tests.faults.power --kinds ext4-two,btrfs --scenarios one,retry --points 200 --seed 7
    python -m tests.faults.power --kinds xfs-two --scenarios one --at 57 --journals spool    one point again, alone

Each point: a prepared scenario lies synced on small filesystems in memory; it is lived in a forked child until call N;
the power of all filesystems is cut before it; what is left is mounted and checked (stage A); another child starts again
and finishes undisturbed; and is checked (stage R). Beyond the last call the life ends by itself, and the power goes
right then. At every fourth point the power goes a second time, during the restart. Points are drawn by seed, spread
evenly over the kinds of filesystems. Ends with 1 where any point ended otherwise than promised.

The journal of each filesystem is either as old as the last sync, or was written by the clock just before the power
went: then all names are as they last were, but unsynced contents are lost. Two filesystems may differ in this.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import logging
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.faults.disks import BTRFS, EXT4, XFS, Disk, Filesystem, why_not, workshop
from tests.faults.driver import Fault, Outcome, forked, note, tell
from tests.faults.driver import workshop as folder_in_memory
from tests.faults.life import Place
from tests.faults.preload import Action, Faultline, preloaded
from tests.faults.scenarios import Scenario, chosen, make_place, place_in, scenario
from tests.faults.sweep import Bench, Setup, Tally, count_calls, shards

KINDS: dict[str, tuple[Filesystem, ...]] = {
    "ext4": (EXT4,),
    "ext4-two": (EXT4, EXT4),
    "xfs": (XFS,),
    "xfs-two": (XFS, XFS),
    "btrfs": (BTRFS,),
    "btrfs-two": (BTRFS, BTRFS),
}
"""The filesystem of the spool, and that of the ledger where it has one of its own: only there does SQLite's own
syncing not make the spool's renames durable too."""

VERDICTS = (
    ("lost", ("is LOST",)),
    ("doubled", ("in several places", " jobs", "was delivered")),
    ("half", ("not a whole transcript", "does not parse")),
)
"""What the checker's words amount to; anything else is a violation without a name of its own."""


class Point(NamedTuple):
    """Where the power goes.

    Attributes:
        at: The call before which it goes.
        journals: On which filesystems the journal was written just before; one of `JOURNALS`.
        again: The call of the restart before which it goes a second time; 0: never.
    """

    scenario: Scenario
    at: int
    journals: str = "none"
    again: int = 0

    def __str__(self) -> str:
        again = f" --again {self.again}" if self.again else ""
        return f"--scenarios {self.scenario.name} --at {self.at} --journals {self.journals}{again}"


JOURNALS = {"none": (False, False), "spool": (True, False), "ledger": (False, True), "both": (True, True)}
"""Whether the journal of the spool's filesystem, and of the ledger's own, was just written."""


class PowerBench:
    """Disks of one kind, used point after point, and a checker. Owned by one thread.

    Args:
        setup: Done in every child before it lives: how a wrong protocol is tried.
    """

    def __init__(self, filesystems: Sequence[Filesystem], folder: Path, setup: Setup | None = None) -> None:
        self._folder = folder
        self._disks = [Disk(filesystem, folder, f"disk-{index}") for index, filesystem in enumerate(filesystems)]
        self._setup = setup or (lambda: None)
        self._numbers = itertools.count()
        self._templates: dict[str, Place] = {}
        self._bench = Bench(folder, setup)

    def point(self, point: Point) -> list[str]:
        """Live one point; return what is wrong."""
        scenario, place = point.scenario, self._place(point.scenario)
        for disk in self._disks:
            disk.sync()
        outcome, wrong = self._cut(scenario.live, place, point.at, point.journals)
        wrong += self._bench.look(scenario, place, "A")
        if point.again:
            _, more = self._cut(scenario.finish, place, point.again, point.journals)
            wrong += more + [f"again {words}" for words in self._bench.look(scenario, place, "A", faults=2)]
        end = forked(lambda: self._changed(scenario.finish, place))
        wrong += [f"the restart {end.how}: {end.words}"] if end.how != "done" else []
        wrong += self._bench.look(scenario, place, "R", faults=2 if point.again else 1)
        self._forget(place)
        call = outcome.point.replace(f"{self._folder}/", "") or "behind the last call"
        return [f"{point} ({call}): {words}" for words in wrong]

    def close(self) -> None:
        """Take the disks away and end the checker."""
        self._bench.close()
        for disk in self._disks:
            disk.close()

    def _place(self, scenario: Scenario) -> Place:
        """Return a copy of the prepared scenario, on the disks; what was delivered is out of reach of their power."""
        number = str(next(self._numbers))
        if scenario.name not in self._templates:
            self._templates[scenario.name] = self._prepared(scenario)
        template = self._templates[scenario.name]
        home = self._disks[0].mount_point / number
        shutil.copytree(template.root, home / "spool", symlinks=True)
        place = place_in(home)
        if len(self._disks) > 1:
            place = dataclasses.replace(place, state_dir=self._disks[1].mount_point / number)
            shutil.copytree(template.state_dir, place.state_dir)
        delivered = self._folder / f"delivered-{number}"
        if template.delivered.exists():
            shutil.copyfile(template.delivered, delivered)
        return dataclasses.replace(place, delivered=delivered)

    def _prepared(self, scenario: Scenario) -> Place:
        """Prepare a scenario in memory, in this process: what Python learns in it, every child knows from its birth."""
        folder = self._folder / f"template-{scenario.name}"
        state_dir = folder / "state"
        state_dir.mkdir(parents=True)
        place = make_place(folder, state_dir if len(self._disks) > 1 else None)
        scenario.prepare(place)
        return place

    def _changed(self, live: Callable[[Place], None], place: Place) -> None:
        self._setup()
        live(place)

    def _cut(self, live: Callable[[Place], None], place: Place, at: int, journals: str) -> tuple[Outcome, list[str]]:
        """Live until the power goes, and mount what is left; return what is wrong so far."""

        def life() -> None:
            for disk, committed in zip(self._disks, JOURNALS[journals], strict=False):
                if disk.filesystem.has_shutdown:
                    Faultline().power(disk.mount_point, committed=committed)
            self._changed(live, place)

        outcome = forked(life, place, Fault(at, Action.KILL_BEFORE))
        for disk in self._disks:
            disk.lose_power()
        return outcome, [f"the life {outcome.how}: {outcome.words}"] if outcome.how in ("crashed", "hung") else []

    def _forget(self, place: Place) -> None:
        place.delivered.unlink(missing_ok=True)
        place.occupied.unlink(missing_ok=True)
        for disk in self._disks:
            shutil.rmtree(disk.mount_point / place.root.parent.name)


def count_all(scenarios: Iterable[Scenario]) -> list[tuple[Scenario, int]]:
    """Return how many mutating calls each scenario makes undisturbed."""
    with folder_in_memory("power-count") as folder:
        bench = Bench(folder)
        counts = [(one, count_calls(bench, one)) for one in scenarios]
        bench.close()
    return counts


def all_points(kind: str, counts: Iterable[tuple[Scenario, int]]) -> list[Point]:
    """Return every point of these scenarios on this kind: before each call, and behind the last."""
    return [
        Point(one, at, journals)
        for one, count in counts
        for at in range(1, count + 2)
        for journals in journals_of(kind)
    ]


def journals_of(kind: str) -> tuple[str, ...]:
    """Return the names of what the journals may be on this kind of filesystems."""
    if not KINDS[kind][0].has_shutdown:
        return ("none",)
    return tuple(JOURNALS) if len(KINDS[kind]) > 1 else ("none", "spool")


def drawn(points: Sequence[Point], number: int, seed: str) -> list[Point]:
    """Return so many of the points, each once, in the order of chance; every fourth is cut again in its restart."""
    chance = random.Random(seed)
    picked = chance.sample(points, min(number, len(points)))
    return [
        point._replace(again=chance.randint(1, point.at)) if index % 4 == 3 else point
        for index, point in enumerate(picked)
    ]


def sweep_power(
    kind: str, points: Sequence[Point], setup: Setup | None = None, *, stop_at_first: bool = False
) -> Tally:
    """Cut the power at these points, on disks of this kind.

    This process gets a mount namespace of its own for good, so let it be a child.

    Raises:
        CantMount: This machine can't (`why_not` says so beforehand).
    """
    logging.disable(logging.CRITICAL)
    tally = Tally()
    with workshop() as folder:
        bench = PowerBench(KINDS[kind], folder, setup)
        for point in points:
            wrong = bench.point(point)
            tally.points += 1
            tally.wrong += [f"--kinds {kind} {words}" for words in wrong]
            _progress(kind, tally.points, len(points))
            if stop_at_first and wrong:
                break
        bench.close()
    return tally


def _progress(kind: str, done: int, number: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{kind}: {done / number:4.0%}" + ("\r\033[K" if done == number else ""))
        sys.stderr.flush()


def verdicts(wrong: Sequence[str]) -> str:
    """Return how many of the violations are of the named kinds."""
    named = ((name, sum(any(mark in words for mark in marks) for words in wrong)) for name, marks in VERDICTS)
    return ", ".join(f"{number} {name}" for name, number in named)


# --- the command ----------------------------------------------------------------------------------------


def sweep_kind(kind: str, points: Sequence[Point], number_of_shards: int) -> Tally:
    """Sweep one kind in several processes; print what came out."""
    began_s = time.monotonic()
    tally = shards(lambda shard: sweep_power(kind, points[shard[0] :: shard[1]]), number_of_shards)
    note(
        f"power loss, {kind}", f"cuts ({verdicts(tally.wrong)})", tally.points, tally.wrong, time.monotonic() - began_s
    )
    return tally


def _listed(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.power")
    parser.add_argument("--points", type=int, default=500, help="in all, spread evenly over the kinds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", default=tuple(KINDS), type=_listed, help=",".join(KINDS))
    parser.add_argument("--scenarios", default=(), type=_listed)
    parser.add_argument("--at", type=int, help="only this call of one scenario")
    parser.add_argument("--again", type=int, default=0, help="with --at: and this call of the restart")
    parser.add_argument("--journals", choices=JOURNALS, help="with --at: those that were written just before")
    parser.add_argument("--shards", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if unknown := set(arguments.kinds) - set(KINDS):
        parser.error(f"unknown kinds: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    if arguments.at and len(arguments.scenarios) != 1:
        parser.error("--at needs one scenario")
    return arguments


def main() -> int:
    """Run the sweep and print a line for each kind."""
    arguments = _arguments()
    preloaded("tests.faults.power")
    kinds = []
    for kind in arguments.kinds:
        reason = why_not(*KINDS[kind])
        if reason is None:
            kinds.append(kind)
        else:
            tell(f"power loss, {kind}: SKIPPED: {reason}")
    try:
        return _sweep_kinds(kinds, arguments)
    except KeyboardInterrupt:
        return 130


def _sweep_kinds(kinds: Sequence[str], arguments: argparse.Namespace) -> int:
    wrong = 0
    counts = [] if arguments.at else count_all(chosen(arguments.scenarios))
    for index, kind in enumerate(kinds):
        if arguments.at:
            journals = [arguments.journals] if arguments.journals else journals_of(kind)
            only = scenario(arguments.scenarios[0])
            picked = [Point(only, arguments.at, written, arguments.again) for written in journals]
        else:
            share = arguments.points // len(kinds) + (index < arguments.points % len(kinds))
            picked = drawn(all_points(kind, counts), share, f"{arguments.seed}:{kind}")
        wrong += len(sweep_kind(kind, picked, arguments.shards).wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
