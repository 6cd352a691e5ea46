"""Hunt the seeded bugs: every wrong protocol of `seeded.py` must be caught, or the zeros of the sweeps mean nothing.

    python -m tests.faults.hunt [--seed 1] [--bugs "lease not checked"]

First it is lived with without any fault: there it must show nothing, or what was planted is more than the bug. Then
points are tried in the order of chance until one shows it. Ends with 1 where a bug was not caught.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import logging
import os
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.faults.calls import states
from tests.faults.disks import CantMount
from tests.faults.driver import Fault, note, tell, workshop
from tests.faults.power import all_points, count_all, drawn, sweep_power
from tests.faults.preload import Action, preloaded
from tests.faults.scenarios import KILLER, scenario
from tests.faults.seeded import BUGS, CRASHING, ERRNO, KILL, POWER, Bug
from tests.faults.sweep import (
    MAX_ATTEMPTS,
    Bench,
    Tally,
    error_point,
    kill_point,
    shards,
    sweep_killer,
)

ENOUGH = 600
"""A bug that so many points do not show is not caught."""
UNDISTURBED = Fault(1, Action.NONE, forever=True)
MISTAKES = ("TypeError", "AttributeError", "NameError", "UnboundLocalError")
"""What a planted function raises that does not fit any longer what it stands for."""


class Misplanted(Exception):
    """What was planted is not the bug that it is to be: whether a sweep sees that one is not known."""


@dataclass(frozen=True)
class Hunted:
    """What became of one bug: after how many points it was caught, and by what words; "" if it was not."""

    bug: Bug
    points: int
    words: str


def hunt(bug: Bug, seed: int) -> Hunted:
    """Try points until one shows the bug.

    Raises:
        Misplanted: It shows itself without any fault, and should not; or should, and does not.
    """
    with workshop("hunt") as folder:
        bench = Bench(folder, bug.plant)
        try:
            calls = _calls(bug, bench)
            if bug.sweep == POWER:
                return _hunt_by_power(bug, seed)
            if bug.sweep == CRASHING:
                tally = sweep_killer(bench, KILLER, MAX_ATTEMPTS)
                return _hunted(bug, tally)
            return _hunt_by_points(bug, bench, calls, seed)
        finally:
            bench.close()


def _calls(bug: Bug, bench: Bench) -> dict[str, list[str]]:
    """Return the mutating calls of an undisturbed life with the bug, by scenario."""
    calls = {}
    for name in _scenarios(bug):
        outcome, wrong = kill_point(bench, scenario(name), UNDISTURBED)
        if bool(wrong) != bug.shows_itself:
            raise Misplanted(f"without any fault it shows {_last_line(wrong[0]) if wrong else 'nothing'}")
        _see_no_mistake(wrong)
        calls[name] = [outcome.point, *outcome.words.splitlines()] if outcome.how == "done" else []
    return calls


def _scenarios(bug: Bug) -> Sequence[str]:
    """Return where it is looked for, without the kinds of filesystem; of a bug of crashes, a scenario that has none."""
    if bug.sweep == POWER:
        return [where.partition(":")[2] or "one" for where in bug.where]
    return bug.where


def _see_no_mistake(wrong: Iterable[str]) -> None:
    for words in wrong:
        if _last_line(words).startswith(MISTAKES):
            raise Misplanted(_last_line(words))


def _last_line(words: str) -> str:
    return words.strip().splitlines()[-1][:200]


def _hunt_by_points(bug: Bug, bench: Bench, calls: dict[str, list[str]], seed: int) -> Hunted:
    tried = 0
    for name in bug.where:
        for fault in itertools.islice(_faults(bug, calls[name], seed), ENOUGH):
            tried += 1
            wrong = (kill_point if bug.sweep == KILL else error_point)(bench, scenario(name), fault)[1]
            _see_no_mistake(wrong)
            if wrong:
                return Hunted(bug, tried, wrong[0])
    return Hunted(bug, tried, "")


def _faults(bug: Bug, calls: Sequence[str], seed: int) -> Iterator[Fault]:
    """Yield the faults of a whole sweep in the order of chance: kills, once in every state of the files, or errors."""
    if bug.sweep == ERRNO:
        kinds = itertools.product(range(1, len(calls) + 1), (errno.ENOSPC, errno.EIO), (True, False))
        faults = [Fault(at, Action.FAIL, error, forever) for at, error, forever in kinds]
    else:
        faults = [Fault(at, action) for at, action in states(calls)]
    random.Random(f"{seed}:{bug.name}").shuffle(faults)
    yield from faults


def _hunt_by_power(bug: Bug, seed: int) -> Hunted:
    tried = 0
    kinds = [where.partition(":")[0] for where in bug.where]
    for kind, name in zip(kinds, _scenarios(bug), strict=True):
        points = drawn(all_points(kind, count_all([scenario(name)])), ENOUGH, f"{seed}:{bug.name}")
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
            except Misplanted as mistake:
                tally.wrong.append(f"{bug.name} is not what is planted: {mistake}")
                tell(f"  {tally.wrong[-1]}")
                continue
            tally.points += 1
            if not hunted.words:
                tally.wrong.append(f"{bug.name}: NOT caught in {hunted.points} points")
            said = _last_line(hunted.words) if hunted.words else "NOT CAUGHT"
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
