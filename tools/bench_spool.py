"""Benchmarks of large spools: what checking, rebuilding and starting again cost with many jobs.

`make bench` runs them with few jobs, `make bench-full` with ten thousand. A spool is made by writing files and rows
directly, since so many real jobs would take hours; the recordings are small, so that the figures are those of the names
and not of the hashing.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cesar_watch.core.config import Settings
from cesar_watch.core.humanize import duration
from cesar_watch.core.job import FileIdentity, Job, State
from cesar_watch.core.spool import create_spool
from cesar_watch.delivery.names import base_key
from cesar_watch.delivery.sidecar import sidecar
from cesar_watch.service.house import House, open_house

JOBS = 1000
FORMATS = ("txt", "srt", "vtt", "json", "tsv")

Row = tuple[str, str]
"""What was done, and how long it took."""


def main() -> None:
    """Run every benchmark and print one table."""
    parser = argparse.ArgumentParser(description="Benchmarks of large spools.")
    parser.add_argument("--jobs", type=int, default=JOBS, help="how many jobs there are")
    jobs = parser.parse_args().jobs
    table = Table("what", "took", title=f"With {jobs} jobs")
    for bench in BENCHES:
        for row in bench(jobs):
            table.add_row(*row)
    Console().print(table)


def bench_verify(jobs: int) -> list[Row]:
    """Look through a clean spool of completed jobs with the command, whole and quick."""
    with tempfile.TemporaryDirectory(prefix="cesar-bench-") as folder:
        root = Path(folder)
        make_large_spool(root, jobs)
        command = [sys.executable, "-m", "cesar_watch", "verify"]
        return [(" ".join(["verify", *options]), _timed([*command, *options], folder)) for options in ([], ["--quick"])]


def bench_restart(jobs: int) -> list[Row]:
    """Start with so many jobs waiting, until the first is leased: a whole process, its imports and all."""
    with tempfile.TemporaryDirectory(prefix="cesar-bench-") as folder:
        make_large_spool(Path(folder), jobs, state=State.PENDING)
        command = [sys.executable, "-c", RESTART, folder]
        return [(f"restart until the first of {jobs} waiting jobs is leased", _timed(command, folder))]


def bench_rebuild(jobs: int) -> list[Row]:
    """Make the ledger anew with the command: of finished jobs, of waiting ones, of waiting ones without sidecars."""
    rows = []
    for what, state in (("finished", State.COMPLETED), ("waiting", State.PENDING), ("unknown", State.PENDING)):
        with tempfile.TemporaryDirectory(prefix="cesar-bench-") as folder:
            make_large_spool(Path(folder), jobs, state=state)
            if what == "unknown":
                for path in Path(folder, "outbox").iterdir():
                    path.unlink()
            command = [sys.executable, "-m", "cesar_watch", "ledger", "rebuild", "--yes"]
            rows.append((f"ledger rebuild, {jobs} {what} jobs", _timed(command, folder)))
    return rows


RESTART = """
import sys
from pathlib import Path
from cesar_watch.core.config import Settings
from cesar_watch.service import recovery
from cesar_watch.service.house import open_house
with open_house(Settings(spool={"root": Path(sys.argv[1])})) as house:
    recovery.recover(house)
    due = house.ledger.next_due(house.clock.now())
    assert due and house.ledger.lease(due, "bench", house.clock.now())
"""


def _timed(command: list[str], root: str) -> str:
    began_s = time.monotonic()
    environment = {**os.environ, "CESAR_WATCH_SPOOL__ROOT": root}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    return duration(time.monotonic() - began_s)


# --- a large spool ------------------------------------------------------------------------------------


def make_large_spool(root: Path, jobs: int, *, state: State = State.COMPLETED) -> None:
    """Make a spool with so many jobs, all completed or all pending, as if the service had made them."""
    create_spool(root)
    settings = Settings(spool={"root": root}, output={"formats": list(FORMATS)})
    with open_house(settings) as house:
        made = [_make_job(house, number, state) for number in range(jobs)]
        house.ledger.rebuild.restore([(job, base_key(job.base)) for job in made], made[0].created_at)


def _make_job(house: House, number: int, state: State) -> Job:
    """Write one job's files, nothing synced; return the job as its row shall tell of it."""
    root, job_id, base = house.spool.root, f"{number:016x}", f"talk{number}"
    recording = b"sound %d" % number
    room = root / "archive" if state is State.COMPLETED else house.spool.job_dir(job_id)
    room.mkdir(exist_ok=True)
    path = room / f"{base}.mp3"
    path.write_bytes(recording)
    hashes: dict[str, str] = {}
    if state is State.COMPLETED:
        for ending in FORMATS:
            content = json.dumps({"text": f"Words of {base}."}).encode() + b"\n"
            (root / "outbox" / f"{base}.{ending}").write_bytes(content)
            hashes[f"{base}.{ending}"] = hashlib.sha256(content).hexdigest()
    at = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    fields: dict[str, Any] = {
        field.name: None for field in dataclasses.fields(Job) if field.default is dataclasses.MISSING
    }
    fields |= {"seq": 0, "job_id": job_id, "state": state, "name": f"{base}.mp3".encode(), "subfolder": b""}
    fields |= {"base": base, "source": house.spool.relative(path), "identity": FileIdentity.of(path.stat())}
    fields |= {"sha256": hashlib.sha256(recording).hexdigest(), "options": house.settings.job_options()}
    fields |= {"attempts": 0, "interruptions": 0, "created_at": at, "updated_at": at, "progress": 0.0}
    fields |= {"message": "", "outputs": list(hashes), "outputs_sha256": hashes}
    if state is State.COMPLETED:
        fields |= {"attempts": 1, "completed_at": at, "progress": 100.0, "duration_s": 60.0}
    job = Job(**fields)
    text = json.dumps(sidecar(job, instance=house.spool.instance), ensure_ascii=False, indent=2)
    (root / "outbox" / f"{base}.status.json").write_text(text + "\n", encoding="utf-8")
    return job


BENCHES: tuple[Callable[[int], list[Row]], ...] = (bench_verify, bench_restart, bench_rebuild)


if __name__ == "__main__":
    main()
