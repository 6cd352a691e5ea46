"""Offline means offline: the whole job without any network, and without a trace outside the spool."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.processes import COMMAND, command, drop, environment


def _can_unshare() -> bool:
    try:
        return subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    assert command("init", "spool", cwd=tmp_path).returncode == 0
    drop("numbers.wav", tmp_path / "spool/inbox")
    return tmp_path / "spool"


@pytest.mark.skipif(not _can_unshare(), reason="a network namespace can't be made here (needs root and unshare)")
def test_recording_is_transcribed_without_any_network(spool: Path) -> None:
    drained = subprocess.run(
        ["unshare", "--net", *COMMAND, "drain", "--set", "spool.quiet_s=0.3"],
        cwd=spool.parent,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert drained.returncode == 0, drained.stderr
    assert (spool / "outbox/numbers.txt").read_text().split()


def test_service_leaves_nothing_in_the_users_home(spool: Path, tmp_path: Path) -> None:
    """The speech-activity library keeps a telemetry file there unless it is told not to."""
    home = tmp_path / "home"
    home.mkdir()
    drained = command("drain", "--set", "spool.quiet_s=0.3", cwd=spool.parent, HOME=str(home), XDG_CACHE_HOME="")
    assert drained.returncode == 0, drained.stderr
    assert sorted(home.rglob("*")) == []
