"""Settings that come with recordings, through a whole life: claim, failure, mending, retry, rest."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.durable import rename_noreplace
from cesar_watch.core.errors import ModelError, RecordingError
from cesar_watch.core.job import Job, Request, State
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.core.spool import Spool
from cesar_watch.service.places import Places
from cesar_watch.service.worker import Worker
from tests.fakes import FakeEngine
from tests.service_builders import Rig, open_rig
from tests.sounds import voice, write_wav

GERMAN = b'language = "de"\nformats = ["txt"]\n'
WRONG = b'language = "de"\nbeam = 3\n'
DONE = ["archive/talk.mp3", "archive/talk.mp3.toml", "outbox/talk.status.json", "outbox/talk.txt"]
NOT_MEDIA = RecordingError("No.", reason="not_media")


def drop_with(rig: Rig, settings: bytes, name: str = "talk.mp3") -> None:
    rig.drop(f"{name}.toml", settings)
    rig.drop(name)


def lived(rig: Rig) -> Job:
    rig.claim_all()
    rig.work()
    return rig.only_job()


def retried(rig: Rig) -> Job:
    rig.house.ledger.ask(rig.only_job(), Request.RETRY)
    rig.work()
    return rig.only_job()


def reason_of(job: Job) -> tuple[State, str, str]:
    assert job.error is not None
    return job.state, job.error.reason, job.error.message


# --- a good file ----------------------------------------------------------------------------------


def test_settings_file_is_obeyed_told_and_goes_with_its_recording(tmp_path: Path) -> None:
    with open_rig(tmp_path, engine := FakeEngine()) as rig:
        drop_with(rig, GERMAN)
        job = lived(rig)
        assert job.state is State.COMPLETED
        assert engine.requests[0].options.language == "de"
        assert rig.files() == DONE
        assert rig.sidecar()["options"]["overrides"] == [
            {"kind": "recording", "from": "talk.mp3.toml", "set": {"language": "de", "formats": ["txt"]}}
        ]
        assert (tmp_path / "archive/talk.mp3.toml").read_bytes() == GERMAN


def test_settings_of_the_folder_stay_and_are_for_all_below(tmp_path: Path) -> None:
    with open_rig(tmp_path, engine := FakeEngine(), spool={"recursive": True}) as rig:
        rig.drop("a/.cesar.toml", GERMAN)
        rig.drop("a/b/talk.mp3")
        assert lived(rig).state is State.COMPLETED
        assert engine.requests[0].options.language == "de"
        assert rig.files() == [
            "archive/a/b/talk.mp3",
            "inbox/a/.cesar.toml",
            "outbox/a/b/talk.status.json",
            "outbox/a/b/talk.txt",
        ]


def test_settings_file_dropped_within_the_quiet_window_is_waited_for(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), spool={"quiet_s": 5}) as rig:
        rig.drop("talk.mp3")
        rig.intake.turn(rig.hand.elapsed_s)
        rig.hand.move(4)
        rig.drop("talk.mp3.toml", b"lang")
        rig.intake.turn(rig.hand.elapsed_s)
        rig.hand.move(4)
        rig.drop("talk.mp3.toml", GERMAN)
        rig.intake.turn(rig.hand.elapsed_s)
        assert rig.house.ledger.jobs() == []
        rig.hand.move(5)
        rig.intake.turn(rig.hand.elapsed_s)
        assert rig.only_job().options["engine"]["language"] == "de"


def test_recording_that_is_whole_waits_for_its_settings_file(tmp_path: Path) -> None:
    whole = write_wav(tmp_path / "away.wav", voice(1.0)).read_bytes()
    with open_rig(tmp_path, FakeEngine(), spool={"quiet_s": 5}) as rig:
        rig.drop("talk.wav.toml", b"lang")
        rig.drop("talk.wav", whole)
        rig.drop("other.wav", whole[::-1])
        rig.drop("whole.wav", whole)
        rig.intake.turn(rig.hand.elapsed_s)
        rig.hand.move(4)
        rig.drop("talk.wav.toml", GERMAN)
        assert rig.intake.turn(rig.hand.elapsed_s) <= 5
        assert [job.display_name for job in rig.house.ledger.jobs()] == ["whole.wav"]
        assert rig.intake.settling == 2
        rig.hand.move(5)
        rig.intake.turn(rig.hand.elapsed_s)
        (job,) = (job for job in rig.house.ledger.jobs() if job.display_name == "talk.wav")
        assert job.options["engine"]["language"] == "de"


def test_settings_file_that_is_empty_keeps_nobody_waiting(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop(".cesar.toml", b"")
        drop_with(rig, b"")
        assert lived(rig).state is State.COMPLETED
        assert rig.intake.settling == 0
        assert "archive/talk.mp3.toml" in rig.files()


def test_settings_file_that_came_too_late_stays_in_the_inbox(tmp_path: Path) -> None:
    with open_rig(tmp_path, engine := FakeEngine()) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        rig.drop("talk.mp3.toml", GERMAN)
        rig.work()
        assert engine.requests[0].options.language is None
        assert "inbox/talk.mp3.toml" in rig.files()


def test_settings_file_never_replaces_one_that_rests_there(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        mine = tmp_path / "archive/talk.mp3.toml"
        mine.write_text("mine")
        drop_with(rig, GERMAN)
        lived(rig)
        assert mine.read_text() == "mine"
        assert [name for name in rig.files() if name.startswith("archive")] == [
            "archive/talk-2.mp3",
            "archive/talk-2.mp3.toml",
            "archive/talk.mp3.toml",
        ]


def test_settings_file_whose_place_is_taken_at_the_last_moment_gets_a_number(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        drop_with(rig, GERMAN)
        rig.claim_all()

        def rename(source: Path, target: Path) -> None:
            if target == tmp_path / "archive/talk.mp3.toml":
                target.write_text("mine")
            rename_noreplace(source, target)

        rig.house.spool = _with_rename(rig.house.spool, rename)
        rig.work()
        assert (tmp_path / "archive/talk.mp3.toml").read_text() == "mine"
        assert (tmp_path / "archive/talk.mp3-2.toml").read_bytes() == GERMAN


def test_settings_file_that_alone_can_not_be_moved_stays_and_stops_nobody(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        drop_with(rig, GERMAN)

        def rename(source: Path, target: Path) -> None:
            if source.name.endswith(".toml"):
                raise OSError(errno.EPERM, "immutable", str(source))
            rename_noreplace(source, target)

        rig.house.spool = _with_rename(rig.house.spool, rename)
        assert lived(rig).state is State.COMPLETED
        assert "inbox/talk.mp3.toml" in rig.files()


def _with_rename(spool: Spool, rename: Any) -> Spool:
    return Spool(spool.root, spool.instance, spool.spool_id, rename=rename)


def test_delete_of_the_recording_takes_its_settings_file_too(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        drop_with(rig, GERMAN)
        rig.house.ledger.ask(lived(rig), Request.DELETE_RECORDING)
        rig.work()
        assert rig.files() == []


def test_delete_of_a_recording_leaves_a_file_that_was_not_read_for_it(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        job = lived(rig)
        (tmp_path / "archive/talk.mp3.toml").write_text("mine")
        rig.house.ledger.ask(job, Request.DELETE_RECORDING)
        rig.work()
        assert rig.files() == ["archive/talk.mp3.toml"]


# --- a wrong file ---------------------------------------------------------------------------------


def test_wrong_file_fails_its_recording_with_line_and_column_and_nobody_else(tmp_path: Path) -> None:
    with open_rig(tmp_path, engine := FakeEngine()) as rig:
        drop_with(rig, WRONG)
        rig.drop("other.mp3")
        rig.claim_all()
        rig.work()
        other, failed = sorted(rig.house.ledger.jobs(), key=lambda job: job.name)
        state, reason, message = reason_of(failed)
        assert (state, reason, failed.attempts) == (State.FAILED, "bad_override", 0)
        assert "talk.mp3.toml, line 2, column 1: beam: is not a known" in message
        assert other.state is State.COMPLETED
        assert [Path(request.path).name for request in engine.requests] == ["other.mp3"]
        assert message in (tmp_path / "failed/talk.mp3.reason.txt").read_text()
        assert (tmp_path / "failed/talk.mp3.toml").read_bytes() == WRONG
        assert rig.sidecar()["error"]["reason"] == "bad_override"
        assert rig.worker.failed == 1


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/hostname")])
def test_settings_file_that_is_no_file_fails_its_recording_and_stays(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        make(rig.drop("talk.mp3").with_name("talk.mp3.toml"))
        rig.claim_all()
        rig.work()
        job = rig.only_job()
        assert job.error is not None
        assert (job.state, job.error.reason) == (State.FAILED, "bad_override")
        assert os.path.lexists(rig.house.spool.inbox / "talk.mp3.toml")


def test_wrong_file_is_told_in_the_sidecar_from_the_claim_on_and_survives_a_lost_ledger(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        drop_with(rig, WRONG)
        rig.claim_all()
        assert rig.sidecar()["error"]["reason"] == "bad_override"
    for path in (tmp_path / ".state").glob("ledger.db*"):
        path.unlink()
    with open_rig(tmp_path, engine := FakeEngine()) as rig:
        rig.work()
        assert reason_of(rig.only_job())[:2] == (State.FAILED, "bad_override")
        assert engine.requests == []


def test_wrong_file_of_a_folder_fails_what_lies_below_and_stays(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop(".cesar.toml", b"x = 1\n")
        rig.drop("talk.mp3")
        _, reason, message = reason_of(lived(rig))
        assert reason == "bad_override"
        assert message.startswith("inbox/.cesar.toml, line 1, column 1: ")
        assert "inbox/.cesar.toml" in rig.files()
        (tmp_path / "inbox/.cesar.toml").write_bytes(GERMAN)
        assert retried(rig).options["engine"]["language"] == "de"


def test_retry_reads_the_mended_file_beside_the_recording(tmp_path: Path) -> None:
    with open_rig(tmp_path, engine := FakeEngine()) as rig:
        drop_with(rig, WRONG)
        lived(rig)
        (tmp_path / "failed/talk.mp3.toml").write_bytes(GERMAN)
        job = retried(rig)
        assert (job.state, job.error) == (State.COMPLETED, None)
        assert engine.requests[0].options.language == "de"
        assert rig.files() == DONE


def test_retry_with_the_file_taken_away_goes_by_the_settings(tmp_path: Path) -> None:
    with open_rig(tmp_path, engine := FakeEngine()) as rig:
        drop_with(rig, WRONG)
        lived(rig)
        (tmp_path / "failed/talk.mp3.toml").unlink()
        assert retried(rig).state is State.COMPLETED
        assert engine.requests[0].options.language is None


def test_retry_with_a_file_that_is_still_wrong_fails_again_with_the_new_place(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        drop_with(rig, WRONG)
        lived(rig)
        (tmp_path / "failed/talk.mp3.toml").write_bytes(b"beam = 3\n")
        _, reason, message = reason_of(retried(rig))
        assert reason == "bad_override"
        assert "line 1, column 1" in message
        assert "line 1, column 1" in (tmp_path / "failed/talk.mp3.reason.txt").read_text()


def test_retry_goes_by_the_settings_of_today(tmp_path: Path) -> None:
    with open_rig(tmp_path, engine := FakeEngine({"talk.mp3": [NOT_MEDIA]})) as rig:
        rig.drop("talk.mp3")
        lived(rig)
        engine.scripts = {}
        rig.house.settings = rig.house.settings.model_copy(update={"engine": EngineSettings(language="cs")})
        assert retried(rig).options["engine"]["language"] == "cs"


def test_settings_file_of_a_failed_recording_rests_beside_it_whatever_failed(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine({"talk.mp3": [NOT_MEDIA]})) as rig:
        drop_with(rig, GERMAN)
        lived(rig)
        assert [name for name in rig.files() if name.startswith("failed")] == [
            "failed/talk.mp3",
            "failed/talk.mp3.reason.txt",
            "failed/talk.mp3.toml",
        ]


# --- a model that was wished for --------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "state"), [("model_missing", State.FAILED), ("model_unreachable", State.PENDING)])
def test_model_that_was_wished_for_and_is_not_there_stops_nobody_else(tmp_path: Path, fault: str, state: State) -> None:
    with open_rig(tmp_path, engine := FakeEngine()) as rig:
        rig.worker = Worker(
            rig.house, stop=rig.stop, places=Places(lambda settings: _only_demo(settings, engine, fault))
        )
        drop_with(rig, b'model = "large"\n')
        rig.drop("zzz.mp3")
        rig.claim_all()
        rig.work()
        wished, other = sorted(rig.house.ledger.jobs(), key=lambda job: job.name)
        assert (wished.state, wished.attempts) == (state, 1)
        assert wished.error is not None
        assert (wished.error.reason, "talk.mp3.toml" in wished.error.message) == (fault, True)
        assert other.state is State.COMPLETED


def test_model_of_the_settings_that_is_not_there_is_nobodys_fault(tmp_path: Path) -> None:
    with open_rig(tmp_path, engine := FakeEngine(), engine={"model": "large"}) as rig:
        rig.worker = Worker(rig.house, stop=rig.stop, places=Places(lambda settings: _only_demo(settings, engine, "x")))
        drop_with(rig, GERMAN)
        rig.claim_all()
        with pytest.raises(ModelError):
            rig.work()
        assert (rig.only_job().state, rig.only_job().attempts) == (State.PENDING, 0)


def test_model_that_can_not_be_loaded_as_wished_fails_only_its_recording(tmp_path: Path) -> None:
    engine = FakeEngine({"talk.mp3": [ModelError("int16 is not known here.", reason="compute_type_unsupported")]})
    with open_rig(tmp_path, engine) as rig:
        drop_with(rig, b'compute_type = "int16"\n')
        rig.drop("zzz.mp3")
        rig.claim_all()
        rig.work()
        wished, other = sorted(rig.house.ledger.jobs(), key=lambda job: job.name)
        assert reason_of(wished)[:2] == (State.FAILED, "compute_type_unsupported")
        assert other.state is State.COMPLETED


def _only_demo(settings: EngineSettings, engine: FakeEngine, reason: str) -> FakeEngine:
    if settings.model != "demo":
        raise ModelError(f'The model "{settings.model}" is not there.', reason=reason)
    return engine


# --- names and folders ------------------------------------------------------------------------------


def test_settings_file_of_a_name_that_is_no_text_goes_with_it(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp3")
    with open_rig(tmp_path, FakeEngine()) as rig:
        drop_with(rig, GERMAN, name)
        assert lived(rig).state is State.COMPLETED
        assert (tmp_path / "archive" / f"{name}.toml").read_bytes() == GERMAN
        json.loads((tmp_path / "outbox/caf\N{REPLACEMENT CHARACTER}.status.json").read_bytes())


def test_settings_file_left_in_the_folder_of_an_ended_job_goes_to_its_recording(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        job = lived(rig)
        folder = rig.house.spool.job_dir(job.job_id)
        folder.mkdir()
        (folder / "talk.mp3.toml").write_bytes(GERMAN)
    with open_rig(tmp_path, FakeEngine()) as rig:
        assert not folder.exists()
        assert (tmp_path / "archive/talk.mp3.toml").read_bytes() == GERMAN
