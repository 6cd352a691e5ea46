"""`cesar-watch ledger rebuild` in real processes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cesar_watch.core.errors import RecordingError
from tests.fakes import FakeEngine
from tests.processes import command, service, until
from tests.service_builders import open_rig


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A spool with three completed jobs, one that failed and two that wait."""
    root = tmp_path / "spool"
    with open_rig(root, FakeEngine({"bad.mp3": [RecordingError("No.", reason="not_media")]})) as rig:
        for name in ("one.mp3", "two.mp3", "three.mp3", "bad.mp3"):
            rig.drop(name)
        rig.claim_all()
        rig.work()
        for name in ("four.mp3", "five.mp3"):
            rig.drop(name)
        rig.claim_all()
    (root / "config.toml").write_text('[spool]\nroot = "."\n')
    return root


def known(spool: Path) -> set[tuple[str, ...]]:
    """Return (job_id, sha256, state, outputs) of every job."""
    done = command("jobs", "--json", "--page-size", "1000", "--config", spool / "config.toml", cwd=spool)
    assert done.returncode == 0
    return {
        (job["job_id"], job["source"]["sha256"] or "", job["status"], *job["outputs"])
        for job in json.loads(done.stdout)["jobs"]
    }


def test_rebuild_knows_every_job_again_and_keeps_the_old_ledger(spool: Path) -> None:
    before = known(spool)
    assert len(before) == 6
    old = (spool / ".state/ledger.db").read_bytes()

    done = command("ledger", "rebuild", "--yes", "--config", spool / "config.toml", cwd=spool)
    assert done.returncode == 0, done.stderr
    assert re.search(r"6 jobs, made in [\d.]+ s: 2 pending, 3 completed, 1 failed", " ".join(done.stdout.split()))
    assert "notices" in done.stdout
    assert known(spool) == before
    (kept,) = (spool / ".state").glob("ledger.db.replaced-*Z")
    assert kept.read_bytes() == old
    assert kept.name in done.stderr


def test_rebuild_asks_first_and_changes_nothing_without_an_answer(spool: Path) -> None:
    before = (spool / ".state/ledger.db").read_bytes()

    done = command("ledger", "rebuild", "--config", spool / "config.toml", cwd=spool)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert (spool / ".state/ledger.db").read_bytes() == before
    assert not list((spool / ".state").glob("ledger.db.*"))


def test_rebuild_beside_a_running_service_exits_4_and_changes_nothing(spool: Path) -> None:
    config = str(spool / "config.toml")
    with service(spool, "--config", config):
        until(lambda: command("status", "--json", "--config", config, cwd=spool).returncode == 0, "the service")
        until(
            lambda: '"running": true' in command("status", "--json", "--config", config, cwd=spool).stdout, "its lock"
        )
        done = command("ledger", "rebuild", "--yes", "--config", config, cwd=spool)
        assert done.returncode == 4
        assert not list((spool / ".state").glob("ledger.db.*"))


def test_foreign_ledger_is_refused_with_3_by_run_and_set_aside_by_rebuild(spool: Path) -> None:
    before = known(spool)
    config = spool / "config.toml"
    marker = spool / ".cesar-watch"
    genuine = marker.read_bytes()
    marker.write_text('{"spool_id": "0123456789abcdef"}')

    run = command("drain", "--config", config, cwd=spool)
    assert run.returncode == 3
    assert "cesar-watch ledger rebuild" in run.stderr
    assert command("ledger", "rebuild", "--yes", "--config", config, cwd=spool).returncode == 0
    assert known(spool) == before
    assert marker.read_bytes() != genuine
