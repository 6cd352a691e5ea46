"""A quick look by the sweeps of this folder; `make faults` runs them whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.preload import NO_COMPILER, build, environment, has_compiler

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.skipif(not has_compiler(), reason=NO_COMPILER)


def _run(*arguments: str) -> str:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(180)
def test_kills_at_a_few_calls_of_every_scenario_lose_nothing_and_double_nothing() -> None:
    said = _run("tests.faults.sweep", "sample", "--points", "1", "--shards", "1")

    assert "0 violations" in said


@pytest.mark.timeout(180)
def test_seeded_bugs_are_seen() -> None:
    bugs = "moved by unlink and write,sidecars replaced in place,systemic faults consume attempts"
    said = _run("tests.faults.hunt", "--bugs", bugs, "--shards", "1")

    assert "3 seeded bugs" in said


MISPLANTED = """
from cesar_watch.intake import claim
from tests.faults.hunt import hunt_all
from tests.faults.seeded import KILL, Bug, swap

fits_no_longer = Bug("fits no longer", lambda: swap(claim.claim, lambda: None), KILL)
is_nothing = Bug("is nothing", lambda: None, KILL, shows_itself=True)
print(*hunt_all([fits_no_longer, is_nothing], 1, 1).wrong, sep="\\n")
"""


def test_seeded_bug_that_shows_without_a_fault_for_another_reason_does_not_count_as_seen(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MISPLANTED]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(build(tmp_path)), capture_output=True, text=True, check=True
    )

    assert "fits no longer is not what is planted: without any fault it shows TypeError" in done.stdout
    assert "is nothing is not what is planted: without any fault it shows nothing" in done.stdout


def test_recording_that_kills_the_service_is_given_up_and_the_others_go_on() -> None:
    said = _run("tests.faults.sweep", "killer", "--shards", "1")

    assert "3 deaths" in said
