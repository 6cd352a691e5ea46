"""Lives on disks that are much too small: a tmpfs of every size, with spool and ledger on it.

    python -m tests.faults.small_disks                       every scenario, every size
    python -m tests.faults.small_disks --scenarios one --steps 17        one size again, alone

Each point: a prepared scenario lies on a tmpfs that has room for nothing more, or for 4 KB more at each step, up to
232. The service lives as under a service manager; it may pause or end with an error that is told, but nothing may be
lost or half (stage A). Then the disk gets its room, and everything must come to its end (stage R). The same again with
inodes in place of bytes. Ends with 1 where any point ended otherwise.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.faults.disks import mount_tmpfs, resize_tmpfs, unmount, why_not, workshop
from tests.faults.driver import forked, note, tell
from tests.faults.life import Place
from tests.faults.preload import preloaded
from tests.faults.scenarios import Scenario, chosen, make_place, place_in
from tests.faults.sweep import Bench, Setup, Tally, shards

SMALLEST_KIB = 24
STEP_KIB = 4
STEPS = 59
"""From 24 to 256 KB; where what is prepared needs more than 24, from there on."""
ROOMY = "size=64m,nr_inodes=10000"
SCARCE = ("bytes", "inodes")


class Point(NamedTuple):
    """A scenario, what there is little of, and how many steps of it are free."""

    scenario: Scenario
    scarce: str
    step: int


class SmallDisk:
    """A tmpfs that is mounted anew for every point, and a checker. Owned by one thread.

    Args:
        setup: Done in every child before it lives: how a wrong protocol is tried.
    """

    def __init__(self, folder: Path, setup: Setup | None = None) -> None:
        self._folder = folder
        self._mount_point = folder / "disk"
        self._mount_point.mkdir()
        self._setup = setup or (lambda: None)
        self._numbers = itertools.count()
        self._templates: dict[str, Path] = {}
        self._bench = Bench(folder, setup)

    def point(self, point: Point) -> list[str]:
        """Live one point; return what is wrong."""
        mount_tmpfs(self._mount_point, ROOMY)
        try:
            place = self._place(point.scenario)
            size = self._shrink(point)
            is_full = point.step == 0 and size != f"size={SMALLEST_KIB}k"
            wrong = ["there is room where there should be none"] if is_full and self._has_room() else []
            wrong += self._lives(point.scenario.live_on, place) + self._bench.look(point.scenario, place, "A")
            resize_tmpfs(self._mount_point, ROOMY)
            wrong += self._lives(point.scenario.finish, place) + self._bench.look(point.scenario, place, "R")
        finally:
            unmount(self._mount_point)
        return [f"{point.scenario.name} --steps {point.step} ({size}): {words}" for words in wrong]

    def close(self) -> None:
        """End the checker."""
        self._bench.close()

    def _place(self, scenario: Scenario) -> Place:
        if scenario.name not in self._templates:
            folder = self._folder / f"template-{scenario.name}"
            folder.mkdir()
            scenario.prepare(make_place(folder))
            self._templates[scenario.name] = folder
        home = self._mount_point / "home"
        shutil.copytree(self._templates[scenario.name], home, symlinks=True)
        place = place_in(home)
        delivered = self._folder / f"delivered-{next(self._numbers)}"
        if place.delivered.exists():
            shutil.move(place.delivered, delivered)
        return dataclasses.replace(place, delivered=delivered)

    def _shrink(self, point: Point) -> str:
        """Leave as much room as the point says; return what the disk has then."""
        disk = os.statvfs(self._mount_point)
        if point.scarce == "inodes":
            size = f"nr_inodes={disk.f_files - disk.f_ffree + point.step}"
        else:
            used_kib = math.ceil((disk.f_blocks - disk.f_bfree) * disk.f_frsize / 1024)
            size = f"size={max(SMALLEST_KIB, used_kib) + STEP_KIB * point.step}k"
        resize_tmpfs(self._mount_point, size)
        return size

    def _has_room(self) -> bool:
        path = self._mount_point / "more"
        try:
            path.write_bytes(b"more")
        except OSError:
            return False
        finally:
            path.unlink(missing_ok=True)
        return True

    def _lives(self, live: Callable[[Place], None], place: Place) -> list[str]:
        def life() -> None:
            self._setup()
            live(place)

        outcome = forked(life)
        return [f"the life {outcome.how}: {outcome.words}"] if outcome.how != "done" else []


def sweep_small_disks(points: Sequence[Point], setup: Setup | None = None, *, stop_at_first: bool = False) -> Tally:
    """Live these points.

    This process gets a mount namespace of its own for good, so let it be a child.

    Raises:
        CantMount: This machine can't (`why_not` says so beforehand).
    """
    logging.disable(logging.CRITICAL)
    tally = Tally()
    with workshop() as folder:
        disk = SmallDisk(folder, setup)
        for point in points:
            wrong = disk.point(point)
            tally.points += 1
            tally.wrong += wrong
            if stop_at_first and wrong:
                break
        disk.close()
    return tally


def all_points(scenarios: Iterable[Scenario], steps: Sequence[int]) -> list[Point]:
    """Return every point of these scenarios."""
    return [Point(*point) for point in itertools.product(scenarios, SCARCE, steps)]


def main() -> int:
    """Run the sweep and print a line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.small_disks")
    parser.add_argument("--scenarios", type=lambda text: tuple(filter(None, text.split(","))), default=())
    parser.add_argument("--steps", type=lambda text: tuple(map(int, text.split(","))), default=tuple(range(STEPS)))
    parser.add_argument("--shards", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    preloaded("tests.faults.small_disks")
    if reason := why_not():
        tell(f"SKIPPED: {reason}")
        return 0
    points = all_points(chosen(arguments.scenarios), arguments.steps)
    began_s = time.monotonic()
    tally = shards(lambda shard: sweep_small_disks(points[shard[0] :: shard[1]]), arguments.shards)
    note("small disks", "sizes", tally.points, tally.wrong, time.monotonic() - began_s)
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
