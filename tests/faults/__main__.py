"""All sweeps, one after the other, and a table of what came out.

    python -m tests.faults               the set of every commit (make faults)
    python -m tests.faults --full        the set of a release (make faults-full); with --write into docs/reliability.md

Ends with 1 where any sweep found a violation.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: make faults-full -->\n", "<!-- end of figures -->\n"
SEED = "1"

PER_COMMIT = (
    "tests.faults.sweep kill --states",
    "tests.faults.sweep killer",
    "tests.faults.sweep pairs --scenarios one --points 400",
    "tests.faults.sweep errno --scenarios one",
    "tests.faults.power --points 500",
    "tests.faults.small_disks --scenarios one,first-start",
    "tests.faults.storm fork --kills 3000",
    "tests.faults.storm real --kills 5 --recordings 4",
    "tests.faults.hunt",
)
RELEASE = (
    "tests.faults.sweep kill",
    "tests.faults.sweep killer",
    "tests.faults.sweep pairs --points 100000",
    "tests.faults.sweep errno",
    "tests.faults.power --points 10000",
    "tests.faults.small_disks",
    "tests.faults.storm fork --kills 100000 --signals mixed",
    "tests.faults.storm real --kills 1000 --recordings 200",
    "tests.faults.hunt",
)


def main() -> int:
    """Run the sweeps; print, and where asked for write, the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--full", action="store_true", help="the release set: hours")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    arguments = parser.parse_args()
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cesar-faults-") as folder:
        rows = Path(folder) / "rows"
        failed = [sweep for sweep in (RELEASE if arguments.full else PER_COMMIT) if _run(sweep, rows) != 0]
        noted = [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []
    table = "\n".join(_table(noted, time.monotonic() - began_s)) + "\n"
    sys.stdout.write("\n" + table + "".join(f"FAILED: {sweep}\n" for sweep in failed))
    if arguments.write:
        write(PAGE, table)
    return 1 if failed else 0


def _run(sweep: str, rows: Path) -> int:
    arguments = sweep.split()
    if "storm real" not in sweep and "killer" not in sweep and "small_disks" not in sweep:
        arguments += ["--seed", SEED]
    sys.stdout.write(f"--- {' '.join(arguments)}\n")
    sys.stdout.flush()
    environment = {**os.environ, "CESAR_FAULTS_ROWS": str(rows)}
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, env=environment, check=False).returncode


def _table(rows: list[dict[str, Any]], took_s: float) -> list[str]:
    lines = ["| sweep | points | of | violations | time |", "|---|--:|---|--:|--:|"]
    lines += [
        f"| {row['sweep']} | {row['points']:,} | {row['what']} | {row['violations']} | {_minutes(row['took_s'])} |"
        for row in rows
    ]
    machine = f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    return [*lines, "", f"Run on {when} in {_minutes(took_s)}, seed {SEED}, on {machine}."]


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def write(page: Path, table: str) -> None:
    """Put the table between the page's two marks."""
    text = page.read_text()
    before, rest = text.split(BEGIN, 1)
    page.write_text(before + BEGIN + table + END + rest.split(END, 1)[1])


if __name__ == "__main__":
    raise SystemExit(main())
