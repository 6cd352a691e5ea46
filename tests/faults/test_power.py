"""A quick look by the power-loss sweep and the small disks; `make faults` runs them whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.disks import EXT4, why_not
from tests.faults.preload import NO_COMPILER, has_compiler

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(not has_compiler(), reason=NO_COMPILER),
    pytest.mark.timeout(180),
]


@pytest.fixture(autouse=True)
def mounts() -> None:
    if reason := why_not(EXT4):
        pytest.skip(reason)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments, "--shards", "1"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)


def test_power_lost_at_some_calls_loses_nothing_and_doubles_nothing() -> None:
    done = _run("tests.faults.power", "--kinds", "ext4-two", "--scenarios", "one,failing", "--points", "12")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "power loss, ext4-two: 12 cuts (0 lost, 0 doubled, 0 half), 0 violations" in done.stdout


def test_one_point_can_be_run_again_alone_with_every_state_of_the_journals() -> None:
    done = _run("tests.faults.power", "--kinds", "ext4-two", "--scenarios", "one", "--at", "57", "--again", "20")

    assert "power loss, ext4-two: 4 cuts" in done.stdout, done.stdout + done.stderr


def test_power_lost_behind_the_last_call_finds_everything_done() -> None:
    done = _run("tests.faults.power", "--kinds", "ext4", "--scenarios", "one", "--at", "100000")

    assert "2 cuts (0 lost, 0 doubled, 0 half), 0 violations" in done.stdout, done.stdout + done.stderr


def test_kind_that_nobody_knows_is_refused_with_those_there_are() -> None:
    done = _run("tests.faults.power", "--kinds", "zfs")

    assert done.returncode == 2
    assert "unknown kinds: zfs; there are ext4, ext4-two" in done.stderr


def test_disk_without_room_loses_nothing_and_all_goes_on_when_it_has_some() -> None:
    done = _run("tests.faults.small_disks", "--scenarios", "one,first-start", "--steps", "0,3,12")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "small disks: 12 sizes, 0 violations" in done.stdout
