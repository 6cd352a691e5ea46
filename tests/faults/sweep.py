"""Sweeps: a fault at every mutating call of every scenario.

    python -m tests.faults.sweep kill [--scenarios one,retry] [--at 57]     SIGKILL before and after every call
    python -m tests.faults.sweep pairs --points 3000 --seed 1               a kill, and a kill during its recovery
    python -m tests.faults.sweep sample --points 5 --seed 1                 SIGKILL at a few calls of every scenario
    python -m tests.faults.sweep killer                                     a recording that kills the service
    python -m tests.faults.sweep errno [--errors ENOSPC,EIO]                an error at every call, once and for ever

Each point: prepare, live under the fault in a forked child, check (stage A), start again and finish undisturbed in
another child, check (stage R). Ends with 1 where any point ended otherwise than promised.
"""

from __future__ import annotations

import argparse
import errno
import gc
import itertools
import logging
import os
import random
import shutil
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cesar_watch.verify.examine import Examination
from tests.faults.calls import outside_of_transactions, states
from tests.faults.checker import Checker
from tests.faults.driver import Fault, Outcome, forked, note, workshop
from tests.faults.life import Place
from tests.faults.preload import Action, preloaded
from tests.faults.scenarios import KILLER, Scenario, chosen, make_place, place_in

ERRORS = ("ENOSPC", "EDQUOT", "EIO", "EROFS", "EACCES", "ESTALE", "EINTR")
KILLS = (Action.KILL_BEFORE, Action.KILL_AFTER)
WHAT = {
    "kill": "kills before and after every mutating call of every scenario",
    "kill --states": "kills, one in every state of the files that every scenario goes through",
    "sample": "kills at calls drawn from every scenario",
    "pairs": "kills during the recovery from a kill",
    "errno": "errors at every call, once and for ever",
    "errno --states": "errors at every call, of a transaction's writes at the first and the last, once and for ever",
    "killer": "deaths by a recording that kills the service",
}
FEWEST_CALLS = 20
"""A scenario with fewer has lost its grip on the code."""
MAX_ATTEMPTS = 3
"""As in the settings of all lives (`life.Place`)."""
MOST_DRAWS = 10
"""For each pair that is wanted."""
Setup = Callable[[], None]


@dataclass
class Tally:
    """What came out of a sweep."""

    points: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in another sweep's."""
        self.points += other.points
        self.wrong += other.wrong


class Bench:
    """One worker's folder and checker; makes a fresh place for every point.

    Args:
        setup: Done in every child before it lives: how a wrong protocol is tried.
    """

    def __init__(self, folder: Path, setup: Setup | None = None) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self._templates: dict[str, Place] = {}
        self.checker = Checker()
        self.setup = setup or (lambda: None)
        self._is_changed = setup is not None

    def close(self) -> None:
        """End the checker."""
        self.checker.close()

    def place(self, scenario: Scenario) -> Place:
        """Return a copy of the prepared scenario.

        Raises:
            RuntimeError: It can't be prepared; the words of the child are in it.
        """
        if scenario.name not in self._templates:
            self._templates[scenario.name] = self._prepared(scenario)
        template = self._templates[scenario.name].root.parent
        folder = shutil.copytree(template, self._folder / str(next(self._numbers)), symlinks=True)
        return place_in(folder)

    def _prepared(self, scenario: Scenario) -> Place:
        folder = self._folder / f"template-{scenario.name}"
        folder.mkdir()
        place = make_place(folder)
        outcome = forked(lambda: scenario.prepare(place))
        if outcome.how != "done":
            raise RuntimeError(f"{scenario.name} can't be prepared: {outcome.words}")
        return place

    def live(self, scenario: Scenario, place: Place, fault: Fault) -> Outcome:
        """Live the scenario under the fault, by a protocol that `setup` may have changed."""

        def life() -> None:
            self.setup()
            scenario.live(place)

        return forked(life, place, fault)

    def finish(self, scenario: Scenario, place: Place, fault: Fault | None = None) -> Outcome:
        """Start again and let everything run out; a restart that can't harm this process needs no child."""
        if fault is None and not self._is_changed:
            try:
                scenario.finish(place)
            except Exception:  # whatever it is, it is a violation
                return Outcome("crashed", "", traceback.format_exc()[-4000:])
            return Outcome("done", "", "")

        def life() -> None:
            self.setup()
            scenario.finish(place)

        return forked(life, place, fault)

    def look(self, scenario: Scenario, place: Place, stage: str, faults: int = 1) -> list[str]:
        """Let the checker look; at rest `cesar-watch verify` must find nothing either."""
        where = (place.root, place.state_dir, place.delivered)
        wrong = self.checker.check(*where, stage, scenario.expected(), faults=faults)
        if stage == "R":
            report = Examination(place.root, place.state_dir, is_running=lambda: False).run()
            wrong += [f"verify finds {finding}" for finding in report.findings]
        return [f"{stage}: {words}" for words in wrong]

    def forget(self, place: Place) -> None:
        """Remove a point's folder."""
        shutil.rmtree(place.delivered.parent)


def kill_point(bench: Bench, scenario: Scenario, fault: Fault) -> tuple[Outcome, list[str]]:
    """Live one point of the kill sweep; return how the life ended, and what is wrong."""
    place = bench.place(scenario)
    outcome = bench.live(scenario, place, fault)
    wrong = [outcome.words] if outcome.how in ("crashed", "hung") else []
    wrong += bench.look(scenario, place, "A")
    wrong += _finished(bench, scenario, place)
    if not wrong:
        bench.forget(place)
    return outcome, wrong


def _finished(bench: Bench, scenario: Scenario, place: Place, faults: int = 1) -> list[str]:
    end = bench.finish(scenario, place)
    wrong = [f"the restart {end.how}: {end.words}"] if end.how != "done" else []
    return wrong + bench.look(scenario, place, "R", faults)


def sweep_kills(
    bench: Bench, scenarios: Iterable[Scenario], shard: tuple[int, int], *, once_a_state: bool = False
) -> Tally:
    """Kill before and after every call of every scenario; this worker takes every n-th point.

    Args:
        once_a_state: Only once in every state of the files that a kill can leave behind.
    """
    tally = Tally()
    for scenario in scenarios:
        calls = calls_of(bench, scenario)
        if len(calls) < FEWEST_CALLS:
            tally.wrong.append(f"{scenario.name} has only {len(calls)} calls")
        points = states(calls) if once_a_state else list(itertools.product(range(1, len(calls) + 1), KILLS))
        for at, action in points[shard[0] :: shard[1]]:
            outcome, wrong = kill_point(bench, scenario, Fault(at, action))
            tally.points += 1
            if outcome.how != "killed":
                wrong.append(f"call {at} was not reached again: the life {outcome.how}")
            tally.wrong += [f"{scenario.name} {action.name} {outcome.point}: {words}" for words in wrong]
    return tally


def sweep_sample(bench: Bench, scenarios: Iterable[Scenario], points: int, seed: int, shard: tuple[int, int]) -> Tally:
    """Kill at a few calls of every scenario, drawn by seed: a quick look whether anything is badly wrong."""
    tally = Tally()
    for scenario in list(scenarios)[shard[0] :: shard[1]]:
        calls = count_calls(bench, scenario)
        chance = random.Random(f"{seed}:{scenario.name}")
        for at in chance.sample(range(1, calls + 1), points):
            outcome, wrong = kill_point(bench, scenario, Fault(at, chance.choice(KILLS)))
            tally.points += outcome.how == "killed"
            tally.wrong += [f"{scenario.name} {outcome.point}: {words}" for words in wrong]
    return tally


def sweep_pairs(bench: Bench, scenarios: Iterable[Scenario], points: int, seed: int, shard: tuple[int, int]) -> Tally:
    """Kill, and kill the recovery from it; pairs of calls drawn by seed, so many in all."""
    tally = Tally()
    drawn_from = list(scenarios)
    wanted = points // (shard[1] * len(drawn_from))
    for scenario in drawn_from:
        calls = count_calls(bench, scenario)
        chance = random.Random(f"{seed}:{scenario.name}:{shard[0]}")
        killed = draws = 0
        # Not every recovery has as many calls as the life before it: then it was not killed, and counts for nothing.
        while killed < wanted and draws < MOST_DRAWS * wanted:
            is_killed, wrong = _pair(bench, scenario, calls, chance)
            killed, draws = killed + is_killed, draws + 1
            tally.wrong += wrong
        tally.points += killed
    return tally


def _pair(bench: Bench, scenario: Scenario, calls: int, chance: random.Random) -> tuple[bool, list[str]]:
    """Draw two of the calls and live them; return whether the recovery was killed, and what is wrong."""
    first, second = (Fault(chance.randint(1, calls), chance.choice(KILLS)) for _ in range(2))
    place = bench.place(scenario)
    outcome = bench.live(scenario, place, first)
    again = bench.finish(scenario, place, second)
    wrong = [one.words for one in (outcome, again) if one.how in ("crashed", "hung")]
    wrong += bench.look(scenario, place, "A", 2)
    wrong += _finished(bench, scenario, place, 2)
    if not wrong:
        bench.forget(place)
    where = f"{scenario.name} {first.action.name} {outcome.point} | {second.action.name} {again.point}"
    return again.how == "killed", [f"{where}: {words}" for words in wrong]


def calls_of(bench: Bench, scenario: Scenario) -> list[str]:
    """Return the mutating calls of an undisturbed life by the right protocol, as `NUMBER CALL PATH [-> PATH]` each.

    Raises:
        RuntimeError: It does not end well; the words of the child are in it.
    """
    place = bench.place(scenario)
    outcome = forked(lambda: scenario.live(place), place, Fault(1, Action.NONE, forever=True))
    bench.forget(place)
    if outcome.how != "done":
        raise RuntimeError(f"{scenario.name} does not live undisturbed: {outcome.words}")
    return [outcome.point, *outcome.words.splitlines()]


def count_calls(bench: Bench, scenario: Scenario) -> int:
    """Return how many mutating calls an undisturbed life makes."""
    return len(calls_of(bench, scenario))


def sweep_errors(
    bench: Bench,
    scenarios: Iterable[Scenario],
    errors: Iterable[str],
    shard: tuple[int, int],
    *,
    once_a_state: bool = False,
) -> Tally:
    """Let every call fail with every error, once and from then on; then the cause goes away and all goes on.

    Args:
        once_a_state: Of the writes of a transaction only the first and the last.
    """
    tally = Tally()
    for scenario in scenarios:
        calls = calls_of(bench, scenario)
        ats = outside_of_transactions(calls) if once_a_state else list(range(1, len(calls) + 1))
        for name, forever in itertools.product(errors, (False, True)):
            for at in ats[shard[0] :: shard[1]]:
                fault = Fault(at, Action.FAIL, getattr(errno, name), forever)
                point, wrong = error_point(bench, scenario, fault)
                tally.points += 1
                lasting = "for ever" if forever else "once"
                tally.wrong += [f"{scenario.name} {name} {lasting} {point}: {words}" for words in wrong]
    return tally


def error_point(bench: Bench, scenario: Scenario, fault: Fault) -> tuple[str, list[str]]:
    """Live one point of the errno sweep; return the call, and what is wrong."""
    place = bench.place(scenario)

    def life() -> None:
        bench.setup()
        scenario.live_on(place)

    outcome = forked(life, place, fault)
    wrong = [outcome.words] if outcome.how != "done" else []
    wrong += bench.look(scenario, place, "A") + _finished(bench, scenario, place)
    if not wrong:
        bench.forget(place)
    return outcome.point, wrong


def sweep_killer(bench: Bench, scenario: Scenario, max_attempts: int) -> Tally:
    """Start again and again after a recording has killed the service; it must be given up, and the others go on."""
    tally = Tally()
    place = bench.place(scenario)
    for _ in range(3 * max_attempts):
        outcome = bench.finish(scenario, place, Fault(0, Action.NONE))
        if outcome.how != "killed":
            break
        tally.points += 1
    wrong = [f"the life {outcome.how}: {outcome.words}"] if outcome.how != "done" else []
    if tally.points > max_attempts:
        wrong.append(f"the service died {tally.points} times for {max_attempts} attempts")
    tally.wrong = [f"{scenario.name}: {words}" for words in wrong + bench.look(scenario, place, "R", tally.points)]
    return tally


# --- the command ----------------------------------------------------------------------------------------


def shards(work: Callable[[tuple[int, int]], Tally], number: int) -> Tally:
    """Do the work in so many processes, and add up."""
    children = []
    for index in range(number):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            gc.freeze()  # what is never looked at by the collector stays shared with the children of this one
            status = 1
            try:
                tally = _told(work, (index, number))
                text = "\0".join([str(tally.points), *tally.wrong])
                with os.fdopen(writer, "w", errors="replace") as stream:
                    stream.write(text)
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        children.append((child, reader))
    total = Tally()
    for child, reader in children:
        with os.fdopen(reader, errors="replace") as stream:
            points, *wrong = stream.read().split("\0")
        os.waitpid(child, 0)
        total.add(Tally(int(points or 0), wrong) if points else Tally(0, ["a worker of the sweep died"]))
    return total


def _told(work: Callable[[tuple[int, int]], Tally], shard: tuple[int, int]) -> Tally:
    """Do the work; an end that nobody foresaw is a violation too."""
    try:
        return work(shard)
    except Exception:
        return Tally(0, [f"a worker of the sweep died: {traceback.format_exc()}"])


def _work(arguments: argparse.Namespace, shard: tuple[int, int]) -> Tally:
    with workshop(f"sweep-{arguments.sweep}") as folder:
        bench = Bench(folder)
        scenarios = chosen(arguments.scenarios)
        if arguments.sweep == "killer":
            return sweep_killer(bench, KILLER, MAX_ATTEMPTS) if shard[0] == 0 else Tally()
        if arguments.sweep == "sample":
            return sweep_sample(bench, scenarios, arguments.points, arguments.seed, shard)
        if arguments.sweep == "pairs":
            return sweep_pairs(bench, scenarios, arguments.points, arguments.seed, shard)
        if arguments.sweep == "errno":
            return sweep_errors(bench, scenarios, arguments.errors, shard, once_a_state=arguments.states)
        return sweep_kills(bench, scenarios, shard, once_a_state=arguments.states)


def main() -> int:
    """Run one sweep and print what came out."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.sweep")
    parser.add_argument("sweep", choices=[name for name in WHAT if "--" not in name])
    parser.add_argument("--scenarios", type=lambda text: tuple(filter(None, text.split(","))), default=())
    parser.add_argument("--errors", type=lambda text: tuple(text.split(",")), default=ERRORS)
    parser.add_argument("--points", type=int, default=3000, help="pairs in all, or calls drawn from each scenario")
    parser.add_argument(
        "--states",
        action="store_true",
        help="of kills that leave the same files, only one; of a transaction's writes, only the first and the last",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shards", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    asked = arguments.sweep + " --states" * arguments.states
    if asked not in WHAT:
        parser.error("--states is for kill and errno")
    preloaded("tests.faults.sweep")
    logging.disable(logging.CRITICAL)
    began_s = time.monotonic()
    total = shards(lambda shard: _work(arguments, shard), arguments.shards)
    note(arguments.sweep, WHAT[asked], total.points, total.wrong, time.monotonic() - began_s)
    return 1 if total.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
