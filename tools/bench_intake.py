"""Benchmarks of the inbox: what looking at it costs, and how soon a recording is claimed.

`make bench` runs them after the others. Where another way of doing the same makes sense it is measured in the same run:
a look that judges every name anew and asks for every `lstat`; for latencies, what is promised.

Idle time is measured for as long as `spool.rescan_s` by default, which holds one look wherever it begins, and claims
are counted with few recordings: `--idle 60 --recordings 10000` takes minutes.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cesar_watch.core.config import Settings, SpoolSettings
from cesar_watch.core.durable import move, sync_file
from cesar_watch.core.humanize import size
from cesar_watch.core.spool import create_spool
from cesar_watch.intake.ignored import IGNORED
from cesar_watch.intake.lookout import Lookout
from cesar_watch.intake.watch import Watcher
from cesar_watch.service.actor_thread import ActorThread
from cesar_watch.service.attempt import Stop
from cesar_watch.service.house import open_house
from cesar_watch.service.intake import Intake
from tools.bench_service import cpu_seconds, resident_bytes

JUNK = 100_000
ARRIVALS = 5
QUIET_S = 0.5
UNPROVEN = b"RIFF\xff\xff\xff\xffWAVEdata\xff\xff\xff\xff" + bytes(range(1, 255)) * 4
"""A recording whose header proves nothing, as streaming writers leave it: it has to wait for the quiet window."""

Row = tuple[str, str, str, str]
"""What was measured, how it fared the plain way or should, how with us, and their ratio."""


def main() -> None:
    """Run every benchmark and print one table."""
    parser = argparse.ArgumentParser(description="Benchmarks of the inbox.")
    parser.add_argument("--idle", type=float, default=SpoolSettings().rescan_s, help="seconds of idling")
    parser.add_argument("--recordings", type=int, default=500, help="recordings to claim")
    parser.add_argument("--claim", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.claim:
        _claim_everything(given.claim, given.recordings)
        return
    table = Table("what", "plain, or at most", "cesar-watch", "ratio", title="The inbox")
    for row in [*bench_junk(given.idle), *bench_latency(), *bench_rate(given.recordings)]:
        table.add_row(*row)
    Console().print(table)


# --- looking ------------------------------------------------------------------------------------------


def bench_junk(idle_s: float) -> Iterator[Row]:
    """Look at inboxes full of junk, and idle over the largest one."""
    for files in (100, 10_000):
        with _junk(files) as root:
            yield from _looks(root, files)
    with _junk(JUNK) as root:
        yield from _looks(root, JUNK)
        yield from _idle(root, idle_s)


def _looks(root: Path, files: int) -> Iterator[Row]:
    """Look again and again: the median of CPU seconds."""
    look = _looker(root / "inbox")
    first_s = _cpu_s(look)
    ours_s = statistics.median(_cpu_s(look) for _ in range(5))
    plain_s = statistics.median(_cpu_s(partial(_plain_look, root / "inbox")) for _ in range(5))
    yield (f"look at {files} files", _ms(plain_s), _ms(ours_s), f"{plain_s / ours_s:.1f} x")
    yield ("  the first one", "", _ms(first_s), "")


def _looker(inbox: Path) -> Callable[[], object]:
    lookout = Lookout(inbox, Watcher(threading.Event()), time.monotonic)
    spool = SpoolSettings(watch_mode="poll")
    return lambda: list(lookout.look(spool, 0.0))


def _plain_look(inbox: Path) -> list[os.stat_result]:
    """Ask for every `lstat`, then judge every name by its pattern: what a loop over the inbox does at first."""
    globs = [glob for _, some in IGNORED for glob in some]
    found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in os.scandir(inbox)]
    return [stat for name, stat in found if not any(fnmatch.fnmatchcase(name, glob) for glob in globs)]


# --- doing nothing ------------------------------------------------------------------------------------


def _idle(root: Path, seconds: float) -> Iterator[Row]:
    """Let the whole service idle; tell the share of one core, and what memory it gained."""
    with _service(root) as pid:
        while _cpu_share(pid, 2.0) > 0.02:  # it starts, and takes its first look
            pass
        before_bytes = resident_bytes(pid)
        share = _cpu_share(pid, seconds)
        gained_bytes = resident_bytes(pid) - before_bytes
    yield (f"idle for {seconds:.0f} s with {JUNK} junk files", "1 % of a core", f"{share:.2%}", f"{share / 0.01:.2f} x")
    yield ("  memory gained meanwhile", "none", size(max(0, gained_bytes)), "")


@contextmanager
def _service(root: Path) -> Iterator[int]:
    command = [sys.executable, "-m", "cesar_watch", "run"]
    environment = {**os.environ, "CESAR_WATCH_SPOOL__ROOT": str(root)}
    service = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        yield service.pid
    finally:
        service.terminate()
        service.wait()


def _cpu_share(pid: int, seconds: float) -> float:
    used_s, began_s = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(pid) - used_s) / (time.monotonic() - began_s)


# --- claiming -----------------------------------------------------------------------------------------


def bench_latency() -> Iterator[Row]:
    """Drop one recording after another; tell the median time until it has left the inbox."""
    promised = {"rename into place": 0.3, "last byte of a plain copy": QUIET_S + 0.3}
    for what, drop in (("rename into place", _rename_in), ("last byte of a plain copy", _copy_in)):
        with _spool() as root, _intake(root):
            took_s = statistics.median([_until_claimed(root, drop, number) for number in range(ARRIVALS)])
        limit_s = promised[what]
        yield (f"{what} to claim, median of {ARRIVALS}", _ms(limit_s), _ms(took_s), f"{took_s / limit_s:.2f} x")


@contextmanager
def _intake(root: Path) -> Iterator[None]:
    """Let the intake of a service run, and nothing else of it."""
    settings = Settings(spool={"root": root, "quiet_s": QUIET_S})
    with open_house(settings) as house:
        wake, stop = threading.Event(), Stop()
        thread = ActorThread(Intake(house, wake=wake), wake=wake, stop=stop, clock=house.clock)
        thread.start()
        try:
            yield
        finally:
            stop.since_s = time.monotonic()
            wake.set()
            thread.join()


def _until_claimed(root: Path, drop: Callable[[Path, Path], None], number: int) -> float:
    time.sleep(0.3)  # for the events of the one before
    path = root / "inbox" / f"{number}.wav"
    drop(root, path)
    began_s = time.monotonic()
    while path.exists():
        time.sleep(0.002)
    return time.monotonic() - began_s


def _rename_in(root: Path, path: Path) -> None:
    (root / path.name).write_bytes(UNPROVEN)
    (root / path.name).rename(path)


def _copy_in(_root: Path, path: Path) -> None:
    with path.open("wb", buffering=0) as stream:
        for _ in range(4):
            stream.write(UNPROVEN)


def bench_rate(recordings: int) -> Iterator[Row]:
    """Claim many small recordings, in two halves; beside it, move as many with the syncs that a durable move needs."""
    with _spool() as root:
        command = [sys.executable, __file__, "--claim", str(root), "--recordings", str(recordings)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        ours_s, gained_bytes = (float(word) for word in done.stdout.split())
        plain = root / "plain"
        (plain / "to").mkdir(parents=True)
        _drop(plain, range(recordings))
        began_s = time.monotonic()
        for number in range(recordings):
            sync_file(plain / f"{number}.wav")
            move(plain / f"{number}.wav", plain / "to" / f"{number}.wav")
        plain_s = time.monotonic() - began_s
    plain_rate, ours_rate = (f"{recordings / seconds:.0f} a second" for seconds in (plain_s, ours_s))
    yield (f"claims, with {recordings} recordings there", plain_rate, ours_rate, f"{plain_s / ours_s:.2f} x")
    yield ("  memory gained in the second half", "none", size(max(0.0, gained_bytes)), "")


def _claim_everything(root: Path, recordings: int) -> None:
    """Print the seconds that the claims took, and the bytes of memory that the second half of them gained."""
    resident, took_s = [], 0.0
    with open_house(Settings(spool={"root": root, "quiet_s": 0, "watch_mode": "poll"})) as house:
        intake = Intake(house, wake=threading.Event())
        for numbers in (range(recordings // 2), range(recordings // 2, recordings)):
            _drop(house.spool.inbox, numbers)
            began_s = time.monotonic()
            for later_s in (0.0, 60.0):
                intake.turn(began_s + later_s)
            took_s += time.monotonic() - began_s
            resident.append(resident_bytes(os.getpid()))
    print(took_s, resident[1] - resident[0])


# --- inboxes ------------------------------------------------------------------------------------------


@contextmanager
def _spool() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cesar-bench-") as folder:
        create_spool(Path(folder))
        yield Path(folder)


@contextmanager
def _junk(files: int) -> Iterator[Path]:
    with _spool() as root:
        for number in range(files):
            os.mknod(root / "inbox" / f"junk-{number:06}.part")
        yield root


def _drop(folder: Path, numbers: range) -> None:
    for number in numbers:
        (folder / f"{number}.wav").write_bytes(UNPROVEN)


def _cpu_s(look: Callable[[], object]) -> float:
    began_s = time.process_time()
    look()
    return time.process_time() - began_s


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


if __name__ == "__main__":
    main()
