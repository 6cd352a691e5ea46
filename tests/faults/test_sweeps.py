"""A quick look by the sweeps of this folder; `make faults` runs them whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.preload import NO_COMPILER, has_compiler

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.skipif(not has_compiler(), reason=NO_COMPILER)


def _run(*arguments: str) -> str:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(180)
def test_kills_at_a_few_calls_of_every_scenario_lose_nothing_and_double_nothing() -> None:
    said = _run("tests.faults.sweep", "sample", "--points", "3", "--shards", "1")

    assert "0 violations" in said


@pytest.mark.timeout(180)
def test_seeded_bugs_are_seen() -> None:
    bugs = "moved by unlink and write,sidecars replaced in place,systemic faults consume attempts"
    said = _run("tests.faults.hunt", "--bugs", bugs, "--shards", "1")

    assert "3 seeded bugs" in said


def test_recording_that_kills_the_service_is_given_up_and_the_others_go_on() -> None:
    said = _run("tests.faults.sweep", "killer", "--shards", "1")

    assert "3 deaths" in said
