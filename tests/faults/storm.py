"""SIGKILL storms.

    python -m tests.faults.storm real --kills 1000 --recordings 200 --seed 1
    python -m tests.faults.storm fork --kills 3000 --seed 1

`real` is the real command with its engine process (see storm_real), `fork` the whole supervisor in forked processes
with an engine that only spells (see storm_fork). Exits 0 without violations, 1 with some. Nothing is left behind.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import storm_fork as fork
from tests.faults import storm_real as real
from tests.faults.driver import note, tell

WHAT = {
    "real": "the real command, with its engine",
    "fork": "the whole supervisor in forked processes, with an engine that only spells",
}


def main() -> int:
    """Run the storm that was asked for."""
    options = _parser().parse_args()
    # So that a service manager's end, too, runs the tidying up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = options.jobs_dir or Path(tempfile.mkdtemp(prefix="cesar-storm-", dir=_ram()))
    folder.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    try:
        report = _real(folder, options) if options.storm == "real" else _fork(folder, options)
    finally:
        if not options.keep:
            shutil.rmtree(folder)
    for line in report.lines():
        tell(line)
    what = f"kills of {WHAT[options.storm]}"
    if options.storm == "real":
        what += f", {options.recordings} recordings"
    note(f"storm {options.storm}", what, report.kills, report.violations, time.monotonic() - began_s)
    if options.json:
        options.json.write_text(json.dumps(dataclasses.asdict(report), indent=1) + "\n")
    return 1 if report.violations else 0


def _real(folder: Path, options: argparse.Namespace) -> real.Report:
    storm = real.Storm(folder, kills=options.kills, recordings=options.recordings, seed=options.seed, say=_say)
    return storm.run()


def _fork(folder: Path, options: argparse.Namespace) -> fork.Report:
    return fork.storm(
        folder, kills=options.kills, seed=options.seed, shards=options.shards, signals=options.signals, say=_say
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.storm")
    storms = parser.add_subparsers(dest="storm", required=True)
    for name, kills in (("real", 1000), ("fork", 3000)):
        storm = storms.add_parser(name, help=WHAT[name])
        storm.add_argument("--kills", type=int, default=kills)
        storm.add_argument("--seed", type=int, default=1)
        storm.add_argument("--jobs-dir", type=Path, help="work in this folder instead of one in /dev/shm")
        storm.add_argument("--keep", action="store_true", help="leave the folder for a look at it")
        storm.add_argument("--json", type=Path, help="write the report here")
    storms.choices["real"].add_argument("--recordings", type=int, default=200)
    storms.choices["fork"].add_argument("--shards", type=int, default=2 * (os.cpu_count() or 1))
    storms.choices["fork"].add_argument("--signals", choices=["kill", "mixed"], default="kill")
    return parser


def _ram() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _say(words: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
