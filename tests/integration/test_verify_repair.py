"""`verify --repair` adopts: what folders, sidecars and rows tell of each other is made again, nothing is replaced."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cesar_watch.core.errors import RecordingError
from cesar_watch.core.job import Request, State
from cesar_watch.core.spool import create_spool
from cesar_watch.service.mending import mend
from cesar_watch.verify.examine import Examination
from tests.fakes import FakeEngine
from tests.processes import command, service, until
from tests.service_builders import HandClock, Rig, open_rig

NO_MEDIA = RecordingError("It is a text file.", reason="not_media")


def _engine() -> FakeEngine:
    return FakeEngine({"bad.mp3": [NO_MEDIA]})


def _codes(root: Path) -> list[str]:
    examination = Examination(root, root / ".state", lambda: False, wait=lambda seconds: None)
    return [finding.code for finding in examination.run().findings]


def _files(root: Path) -> dict[str, bytes]:
    rooms = ("inbox", "processing", "outbox", "archive", "failed", "duplicates")
    found = (path for room in rooms for path in (root / room).rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def _run(rig: Rig) -> None:
    for name in ("talk.mp3", "bad.mp3"):
        rig.drop(name, content=f"sound of {name}".encode())
    rig.claim_all()
    rig.work()
    rig.drop("next.mp3", b"sound to come")
    rig.claim_all()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """An open house with a completed, a failed and a waiting job."""
    with open_rig(tmp_path, _engine()) as rig:
        _run(rig)
        yield rig


def _forget(rig: Rig, state: State) -> str:
    (job,) = rig.house.ledger.jobs([state])
    rig.house.ledger.forget(job)
    return job.job_id


@pytest.mark.parametrize("base", ["talk", "bad", "next"])
def test_deleted_sidecar_is_written_again_as_it_was(tmp_path: Path, rig: Rig, base: str) -> None:
    path = tmp_path / f"outbox/{base}.status.json"
    before = json.loads(path.read_bytes())
    path.unlink()
    mend(rig.house)
    assert json.loads(path.read_bytes()) == before
    assert _codes(tmp_path) == []


def test_deleted_reason_is_written_again_as_it_was(tmp_path: Path, rig: Rig) -> None:
    path = tmp_path / "failed/bad.mp3.reason.txt"
    before = path.read_bytes()
    path.unlink()
    mend(rig.house)
    assert path.read_bytes() == before


def test_folder_without_row_is_adopted(tmp_path: Path, rig: Rig) -> None:
    job_id = _forget(rig, State.PENDING)
    assert _codes(tmp_path) == ["folder_unknown"]
    mend(rig.house)
    assert _codes(tmp_path) == []
    assert [job.job_id for job in rig.house.ledger.jobs([State.PENDING])] == [job_id]


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED])
def test_row_of_a_finished_job_is_restored_from_its_sidecar(tmp_path: Path, rig: Rig, state: State) -> None:
    (before,) = rig.house.ledger.jobs([state])
    _forget(rig, state)
    assert _codes(tmp_path) == ["row_missing"]
    mend(rig.house)
    assert _codes(tmp_path) == []
    (after,) = rig.house.ledger.jobs([state])
    for field in ("job_id", "name", "base", "source", "sha256", "outputs", "outputs_sha256", "error", "message"):
        assert getattr(after, field) == getattr(before, field), field


def test_ledger_of_an_older_backup_learns_where_its_recordings_rest(tmp_path: Path) -> None:
    ledger, backup = tmp_path / ".state/ledger.db", tmp_path / "backup.db"
    with open_rig(tmp_path, _engine()) as rig:
        _run(rig)
    shutil.copyfile(ledger, backup)
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.house.ledger.ask(rig.house.ledger.jobs([State.FAILED])[0], Request.RETRY)
        rig.work()
        assert len(rig.house.ledger.jobs([State.COMPLETED])) == 3
    ledger.write_bytes(backup.read_bytes())
    assert "recording_lost" in _codes(tmp_path)
    repaired = command("verify", "--repair", cwd=tmp_path, CESAR_WATCH_SPOOL__ROOT=str(tmp_path))
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert _codes(tmp_path) == []


def test_sidecar_that_tells_of_another_recording_sets_no_row_right(tmp_path: Path, rig: Rig) -> None:
    (tmp_path / "archive/talk.mp3").rename(tmp_path / "archive/moved.mp3")
    path = tmp_path / "outbox/talk.status.json"
    fields = json.loads(path.read_bytes())
    fields["source"]["path"] = "archive/moved.mp3"
    fields["source"]["sha256"] = "0" * 64
    path.write_text(json.dumps(fields))
    before = rig.house.ledger.jobs([State.COMPLETED])
    mend(rig.house)
    assert rig.house.ledger.jobs([State.COMPLETED]) == before


def test_what_people_changed_stays_as_it_is(tmp_path: Path, rig: Rig) -> None:
    for name in ("outbox/talk.txt", "outbox/bad.status.json", "archive/talk.mp3", "failed/bad.mp3.reason.txt"):
        (tmp_path / name).write_bytes(b"changed by hand")
    (tmp_path / "processing/stray.mp3").write_bytes(b"stray")
    before, found = _files(tmp_path), _codes(tmp_path)
    mend(rig.house)
    assert _files(tmp_path) == before
    assert _codes(tmp_path) == found


def test_mending_twice_changes_nothing_the_second_time(tmp_path: Path, rig: Rig) -> None:
    _forget(rig, State.COMPLETED)
    (tmp_path / "outbox/bad.status.json").unlink()
    mend(rig.house)
    before = (_files(tmp_path), rig.house.ledger.jobs())
    mend(rig.house)
    assert (_files(tmp_path), rig.house.ledger.jobs()) == before


# --- the command ------------------------------------------------------------------------------------


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A closed spool with its configuration, and a completed, a failed and a waiting job."""
    root = tmp_path / "spool"
    assert command("init", root, cwd=tmp_path).returncode == 0
    with open_rig(root, _engine(), hand=HandClock()) as rig:
        _run(rig)
    return root


def test_command_on_a_clean_spool_says_so_and_exits_0(spool: Path) -> None:
    looked = command("verify", cwd=spool)
    assert (looked.returncode, looked.stderr) == (0, "")
    assert looked.stdout.startswith("All is well: 3 jobs, ")


def test_command_tells_each_finding_within_80_columns_and_exits_1(spool: Path) -> None:
    (spool / "outbox/talk.txt").write_text("edited")
    (spool / "outbox/bad.status.json").unlink()
    looked = command("verify", cwd=spool)
    assert looked.returncode == 1
    assert looked.stdout.startswith("2 findings in 3 jobs, ")
    for words in ("output_changed  outbox/talk.txt", "sidecar_missing  outbox/bad.status.json", "--repair"):
        assert words in looked.stdout
    assert max(map(len, looked.stdout.splitlines())) <= 80


def test_command_gives_machines_every_finding_with_its_job(spool: Path) -> None:
    (spool / "outbox/talk.txt").write_text("edited")
    looked = command("verify", "--json", cwd=spool)
    told = json.loads(looked.stdout)
    assert (looked.returncode, told["clean"], told["jobs"]) == (1, False, 3)
    (finding,) = told["findings"]
    assert (finding["code"], finding["path"]) == ("output_changed", "outbox/talk.txt")
    assert finding["job_id"] in finding["remedy"]


def test_command_leaves_out_what_it_is_told_to_ignore(spool: Path) -> None:
    (spool / "archive/talk.mp3").unlink()
    assert command("verify", cwd=spool).returncode == 1
    assert command("verify", "--ignore", "recording_gone", cwd=spool).returncode == 0
    mistyped = command("verify", "--ignore", "recording_goen", cwd=spool)
    assert mistyped.returncode == 2
    assert "recording_gone" in mistyped.stderr


def test_command_repairs_what_it_can_and_tells_what_is_left(spool: Path) -> None:
    (spool / "outbox/bad.status.json").unlink()
    (spool / "outbox/talk.txt").write_text("edited")
    repaired = command("verify", "--repair", cwd=spool)
    assert repaired.returncode == 1
    assert repaired.stdout.startswith("Mended: 1 finding.\n  sidecar_missing  outbox/bad.status.json")
    assert "1 finding in 3 jobs" in repaired.stdout
    assert (spool / "outbox/talk.txt").read_text() == "edited"


def test_command_rebuilds_a_ledger_that_is_gone(spool: Path) -> None:
    for path in (spool / ".state").glob("ledger.db*"):
        path.unlink()
    assert command("verify", cwd=spool).returncode == 1
    assert command("verify", "--repair", cwd=spool).returncode == 0
    assert command("verify", cwd=spool).returncode == 0


def test_command_sets_a_damaged_ledger_aside_and_makes_it_again(spool: Path) -> None:
    ledger = spool / ".state/ledger.db"
    ledger.write_bytes(ledger.read_bytes()[:5000])
    assert command("verify", cwd=spool).returncode == 1
    repaired = command("verify", "--repair", cwd=spool)
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert "ledger_damaged" in repaired.stdout


def test_command_beside_a_running_service_looks_and_does_not_repair(spool: Path) -> None:
    with service(spool):
        account = spool / ".state/service.json"
        until(lambda: account.exists() and '"ready"' in account.read_text(), "the service")
        assert command("verify", cwd=spool).returncode == 0
        refused = command("verify", "--repair", cwd=spool)
    assert refused.returncode == 4
    assert "stop it" in refused.stderr


def test_command_where_no_spool_is_exits_3(tmp_path: Path) -> None:
    looked = command("verify", cwd=tmp_path, CESAR_WATCH_SPOOL__ROOT=str(tmp_path))
    assert looked.returncode == 3
    assert looked.stderr.startswith("cesar-watch: There is no spool at")


def test_command_on_a_spool_where_nothing_has_run_is_content(tmp_path: Path) -> None:
    create_spool(tmp_path)
    assert command("verify", cwd=tmp_path, CESAR_WATCH_SPOOL__ROOT=str(tmp_path)).returncode == 0
