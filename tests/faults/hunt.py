"""Hunt the seeded bugs: every wrong protocol of `seeded.py` must be caught, or the zeros of the sweeps mean nothing.

    python -m tests.faults.hunt [--seed 1] [--bugs "lease not checked"]

Points are tried in the order of chance until one shows the bug. Ends with 1 where a bug was not caught.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import logging
import os
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.faults.disks import CantMount
from tests.faults.driver import Fault, note, tell, workshop
from tests.faults.power import all_points, count_all, drawn, sweep_power
from tests.faults.preload import Action, preloaded
from tests.faults.scenarios import KILLER, Scenario, scenario
from tests.faults.seeded import BUGS, CRASHING, ERRNO, KILL, POWER, Bug
from tests.faults.sweep import (
    KILLS,
    MAX_ATTEMPTS,
    Bench,
    Tally,
    count_calls,
    error_point,
    kill_point,
    shards,
    sweep_killer,
)

ENOUGH = 600
"""A bug that so many points do not show is not caught."""


@dataclass(frozen=True)
class Hunted:
    """What became of one bug: after how many points it was caught, and by what words; "" if it was not."""

    bug: Bug
    points: int
    words: str


def hunt(bug: Bug, seed: int) -> Hunted:
    """Try points until one shows the bug."""
    if bug.sweep == POWER:
        return _hunt_by_power(bug, seed)
    with workshop("hunt") as folder:
        bench = Bench(folder, bug.plant)
        try:
            if bug.sweep == CRASHING:
                tally = sweep_killer(bench, KILLER, MAX_ATTEMPTS)
                return _hunted(bug, tally)
            return _hunt_by_points(bug, bench, seed)
        finally:
            bench.close()


def _hunt_by_points(bug: Bug, bench: Bench, seed: int) -> Hunted:
    tried = 0
    for one in map(scenario, bug.where):
        for fault in itertools.islice(_faults(bug, bench, one, seed), ENOUGH):
            tried += 1
            wrong = (kill_point if bug.sweep == KILL else error_point)(bench, one, fault)[1]
            if wrong:
                return Hunted(bug, tried, wrong[0])
    return Hunted(bug, tried, "")


def _faults(bug: Bug, bench: Bench, one: Scenario, seed: int) -> Iterator[Fault]:
    """Yield the faults of a whole sweep in the order of chance; a wrong protocol may make a few calls more."""
    calls = range(1, count_calls(bench, one) + 10)
    if bug.sweep == ERRNO:
        kinds = itertools.product(calls, (errno.ENOSPC, errno.EIO), (True, False))
        faults = [Fault(at, Action.FAIL, error, forever) for at, error, forever in kinds]
    else:
        faults = [Fault(at, action) for at, action in itertools.product(calls, KILLS)]
    random.Random(f"{seed}:{bug.name}").shuffle(faults)
    yield from faults


def _hunt_by_power(bug: Bug, seed: int) -> Hunted:
    tried = 0
    for kind, _, name in (where.partition(":") for where in bug.where):
        points = drawn(all_points(kind, count_all([scenario(name or "one")])), ENOUGH, f"{seed}:{bug.name}")
        tally = sweep_power(kind, points, bug.plant, stop_at_first=True)
        tried += tally.points
        if tally.wrong:
            return Hunted(bug, tried, tally.wrong[0])
    return Hunted(bug, tried, "")


def _hunted(bug: Bug, tally: Tally) -> Hunted:
    return Hunted(bug, tally.points, tally.wrong[0] if tally.wrong else "")


def hunt_all(bugs: Iterable[Bug], seed: int, number_of_shards: int) -> Tally:
    """Hunt these bugs side by side; the tally counts bugs, and lists the ones that got away."""
    bugs = list(bugs)

    def work(shard: tuple[int, int]) -> Tally:
        tally = Tally()
        for bug in bugs[shard[0] :: shard[1]]:
            began_s = time.monotonic()
            try:
                hunted = hunt(bug, seed)
            except CantMount as fault:
                tell(f"  {bug.name:45} SKIPPED: {fault}")
                continue
            tally.points += 1
            if not hunted.words:
                tally.wrong.append(f"{bug.name}: NOT caught in {hunted.points} points")
            said = hunted.words.strip().splitlines()[-1][:200] if hunted.words else "NOT CAUGHT"
            tell(f"  {bug.name:45} {hunted.points:4} points, {time.monotonic() - began_s:3.0f} s: {said}")
        return tally

    return shards(work, number_of_shards)


def main() -> int:
    """Hunt and print a line for each bug."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.hunt")
    parser.add_argument("--bugs", type=lambda text: tuple(text.split(",")), default=())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shards", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    preloaded("tests.faults.hunt")
    logging.disable(logging.CRITICAL)
    chosen = [bug for bug in BUGS if not arguments.bugs or bug.name in arguments.bugs]
    began_s = time.monotonic()
    total = hunt_all(chosen, arguments.seed, arguments.shards)
    note("hunt", "seeded bugs hunted, none may get away", total.points, total.wrong, time.monotonic() - began_s)
    return 1 if total.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
