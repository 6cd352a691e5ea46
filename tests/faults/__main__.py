"""All sweeps, one after the other, and a table of what came out.

    python -m tests.faults               the set of every commit (make faults)
    python -m tests.faults --full        the set of a release (make faults-full); with --write into docs/reliability.md

Ends with 1 where any sweep found a violation. The set of a release takes hours: with --keep FILE a sweep that found
nothing is noted there when it ends, and is not run again while the code that it runs is the same, comments apart; with
--older not even then. The table tells on which commits its sweeps were run.
"""

from __future__ import annotations

import argparse
import ast
import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.faults.sweep import ERRORS

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: make faults-full -->\n", "<!-- end of figures -->\n"
SEED = "1"

PER_COMMIT = (
    "tests.faults.sweep kill --states",
    "tests.faults.sweep killer",
    "tests.faults.sweep pairs --scenarios one --points 100",
    "tests.faults.sweep errno --states --scenarios one",
    "tests.faults.power --points 500",
    "tests.faults.small_disks --scenarios one",
    "tests.faults.storm fork --kills 3000",
    "tests.faults.storm real --kills 3 --recordings 3",
    "tests.faults.hunt",
)
"""About six minutes on two cores."""
RELEASE = (
    "tests.faults.sweep kill",
    "tests.faults.sweep killer",
    *(f"tests.faults.sweep pairs --points 25000 --seed {seed}" for seed in range(1, 5)),
    # What is shared out among scenarios and workers is rounded down.
    "tests.faults.sweep pairs --points 1000 --seed 5",
    *(f"tests.faults.sweep errno --errors {name}" for name in ERRORS),
    "tests.faults.power --points 10000",
    "tests.faults.small_disks",
    *(f"tests.faults.storm fork --kills 25000 --signals mixed --seed {seed}" for seed in range(1, 5)),
    "tests.faults.storm real --kills 1000 --recordings 200",
    "tests.faults.hunt",
)
"""About five hours on two cores, in pieces of at most 40 minutes."""
WITH_ENGINE = "tests.faults.storm real"
"""The only one with the real engine; in the others one that only spells stands for it."""
SPEECH_WITHOUT_ENGINE = frozenset(
    ("__init__", "checkpoint", "measured", "memory", "models", "parallel", "protocol", "quality", "transcribe")
)
"""What is used of speech/ where no engine is."""


def main() -> int:
    """Run the sweeps; print, and where asked for write, the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--full", action="store_true", help="the release set: hours")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="do not run again what FILE says was run")
    parser.add_argument("--older", action="store_true", help="not even where the code has changed since")
    arguments = parser.parse_args()
    noted = []
    for sweep in RELEASE if arguments.full else PER_COMMIT:
        noted.append(_once(sweep, arguments.keep, older=arguments.older) if arguments.keep else _run(sweep))
    failed = [note["sweep"] for note in noted if note["failed"]]
    table = "\n".join(_table(noted)) + "\n"
    sys.stdout.write("\n" + table + "".join(f"FAILED: {sweep}\n" for sweep in failed))
    if arguments.write:
        write(PAGE, table)
    return 1 if failed else 0


def _once(sweep: str, keep: Path, *, older: bool) -> dict[str, Any]:
    """Return what is kept of a sweep; where nothing is, run it, and keep what finds nothing."""
    code = _code(sweep)
    note = _kept(keep, sweep, None if older else code)
    if note is None:
        note = _run(sweep) | {"code": code}
        if not note["failed"]:
            with keep.open("a") as stream:
                stream.write(json.dumps(note) + "\n")
    return note


def _code(sweep: str) -> str:
    """Return a hash of all the code that decides what comes out of a sweep."""
    digest = hashlib.sha256()
    for path in _sources(sweep):
        digest.update(f"{path.relative_to(ROOT)}\n{_meaning(path)}".encode())
    return digest.hexdigest()


def _sources(sweep: str) -> Iterable[Path]:
    """Return the service's files and those of the harness that a sweep uses."""
    sources = {*ROOT.glob("cesar_watch/**/*.py"), *ROOT.glob("tests/faults/*.c")}
    programs = [sweep.split(maxsplit=1)[0], "tests.faults.checker"]
    if sweep.startswith(WITH_ENGINE):
        programs.append("tests.faults.launch")
    else:
        speech = set(ROOT.glob("cesar_watch/speech/*.py"))
        sources -= {path for path in speech if path.stem not in SPEECH_WITHOUT_ENGINE}
    return sorted(sources.union(_harness(programs)))


def _harness(programs: Iterable[str]) -> set[Path]:
    """Return the files of tests/ that are used by programs of it: their own, and those of all that they import."""
    found: set[Path] = set()
    names = list(programs)
    while names:
        path = ROOT.joinpath(*names.pop().split(".")).with_suffix(".py")
        if path in found or not path.is_file():
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tests"):
                names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


@functools.cache
def _meaning(path: Path) -> str:
    """Return what a file says without its comments and docstrings."""
    if path.suffix != ".py":
        return path.read_text()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [one for one in body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))]
    return ast.dump(tree)


def _kept(path: Path, sweep: str, code: str | None) -> dict[str, Any] | None:
    """Return what is noted last of a sweep, of this code or of any."""
    lines = path.read_text().splitlines() if path.exists() else []
    notes = (note for note in map(json.loads, reversed(lines)) if note["sweep"] == sweep)
    return next((note for note in notes if code in (None, note["code"])), None)


def _run(sweep: str) -> dict[str, Any]:
    """Run a sweep; return whether it failed, what it noted, when, and how long it took."""
    arguments = sweep.split()
    if not any(word in sweep for word in ("storm real", "killer", "small_disks", "--seed")):
        arguments += ["--seed", SEED]
    sys.stdout.write(f"--- {' '.join(arguments)}\n")
    sys.stdout.flush()
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cesar-faults-") as folder:
        rows = Path(folder) / "rows"
        environment = {**os.environ, "CESAR_FAULTS_ROWS": str(rows)}
        done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, env=environment, check=False)
        noted = [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []
    return {
        "sweep": sweep,
        "failed": done.returncode != 0,
        "rows": noted,
        "day": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": _commit(),
        "took_s": time.monotonic() - began_s,
    }


def _commit() -> str:
    """Return the commit that is tried, with a mark where files differ from it; nothing where there is none."""
    asked = ["git", "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def _table(notes: list[dict[str, Any]]) -> list[str]:
    rows = _summed(row | {"commit": note["commit"]} for note in notes for row in note["rows"])
    lines = ["| sweep | points | of | violations | time | commit |", "|---|--:|---|--:|--:|---|"]
    lines += [
        f"| {row['sweep']} | {row['points']:,} | {row['what']} | {row['violations']} | {_minutes(row['took_s'])} "
        f"| {row['commit']} |"
        for row in rows
    ]
    machine = f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
    days = " to ".join(sorted({min(note["day"] for note in notes), max(note["day"] for note in notes)}))
    took = _minutes(sum(note["took_s"] for note in notes))
    return [*lines, "", f"Run on {days} in {took}, seed {SEED}, on {machine}."]


def _summed(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for those of the same sweep that were run in pieces."""
    summed: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        before = summed.get((row["sweep"], row["what"]), {})
        sums = {key: row[key] + before.get(key, 0) for key in ("points", "violations", "took_s")}
        commits = dict.fromkeys(filter(None, [*before.get("commit", "").split(", "), row["commit"]]))
        summed[row["sweep"], row["what"]] = row | sums | {"commit": ", ".join(commits)}
    return list(summed.values())


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def write(page: Path, table: str) -> None:
    """Put the table between the page's two marks."""
    text = page.read_text()
    before, rest = text.split(BEGIN, 1)
    page.write_text(before + BEGIN + table + END + rest.split(END, 1)[1])


if __name__ == "__main__":
    raise SystemExit(main())
