"""Is it new? The same content with the same settings is transcribed once, and every copy tells where."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.errors import AttemptError, CesarError, RecordingError
from cesar_watch.core.job import Job, Request, State
from cesar_watch.core.ledger import Ledger
from cesar_watch.service import recovery
from cesar_watch.service.places import Places
from cesar_watch.service.worker import Worker
from tests.fakes import FakeEngine
from tests.service_builders import Rig, open_rig

SOUND = b"a recording that was made only once"
BUSY = AttemptError("A passing trouble.", reason="attempt_failed")
NO_MEDIA = RecordingError("It is a text file.", reason="not_media")
RECURSIVE: dict[str, Any] = {"spool": {"recursive": True}}


def _transcribe(rig: Rig, *names: str, content: bytes = SOUND) -> None:
    for name in names:
        rig.drop(name, content)
    rig.claim_all()
    rig.work()


def _job(rig: Rig, name: str) -> Job:
    (job,) = (job for job in rig.house.ledger.jobs() if job.display_name == name)
    return job


def _states(rig: Rig) -> dict[str, State]:
    return {job.display_name: job.state for job in rig.house.ledger.jobs()}


def _ask(rig: Rig, name: str, request: Request) -> None:
    rig.house.ledger.ask(_job(rig, name), request)
    rig.work()


def _work_while(rig: Rig, meanwhile: Callable[[], object]) -> None:
    """Take one turn, in which something happens when the recording has been read to its end."""
    happened: list[object] = []

    def beat() -> None:
        if not happened:
            happened.append(meanwhile())

    worker = Worker(rig.house, stop=rig.stop, beat=beat, places=Places(lambda _: rig.engine))
    worker.turn(rig.hand.elapsed_s)


# --- what becomes of a copy ---------------------------------------------------------------------


def test_copy_of_a_transcribed_recording_goes_to_duplicates_without_being_decoded(tmp_path: Path) -> None:
    engine = FakeEngine()
    with open_rig(tmp_path, engine) as rig:
        _transcribe(rig, "talk.mp3")
        _transcribe(rig, "copy.mp3")
        assert _states(rig) == {"talk.mp3": State.COMPLETED, "copy.mp3": State.DUPLICATE}
        assert rig.files() == [
            *("archive/talk.mp3", "duplicates/copy.mp3", "outbox/copy.status.json"),
            *("outbox/talk.json", "outbox/talk.status.json", "outbox/talk.txt"),
        ]
        assert len(engine.requests) == 1
        assert [row["event"] for row in rig.house.ledger.history(_job(rig, "copy.mp3"))] == [
            *("claimed", "leased", "recognised")
        ]


def test_sidecar_of_a_duplicate_names_the_other_job_and_leads_to_its_outputs(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), **RECURSIVE) as rig:
        _transcribe(rig, "radio/talk.mp3")
        _transcribe(rig, "phone/today/copy.mp3")
        first, told = rig.sidecar("radio/talk"), rig.sidecar("phone/today/copy")
    assert (told["status"], told["progress"], told["error"]) == ("duplicate", 100, None)
    assert told["duplicate_of"] == first["job_id"]
    assert told["outputs"] == ["../../radio/talk.txt", "../../radio/talk.json"]
    assert list(told["outputs_sha256"].values()) == list(first["outputs_sha256"].values())
    assert (tmp_path / "outbox/phone/today" / told["outputs"][0]).read_text().split() == ["hello", "world"]
    assert told["source"]["path"] == "duplicates/phone/today/copy.mp3"
    assert "outbox/radio/talk.txt" in told["message"]
    assert (told["language"], told["duration_s"]) == (first["language"], first["duration_s"])
    assert first["duplicate_of"] is None


def test_same_recording_dropped_again_under_its_own_name_is_a_duplicate(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        _transcribe(rig, "talk.mp3")
        assert [job.state for job in rig.house.ledger.jobs()] == [State.COMPLETED, State.DUPLICATE]
        assert rig.sidecar("talk.mp3")["outputs"] == ["talk.txt", "talk.json"]


def test_every_further_copy_is_a_duplicate_of_the_first_and_rests_beside_the_others(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        for _ in range(3):
            _transcribe(rig, "talk.mp3")
        first, *others = rig.house.ledger.jobs()
        assert {job.duplicate_of for job in others} == {first.job_id}
        assert rig.house.ledger.duplicates_of(first) == 2
        assert {"duplicates/talk.mp3", "duplicates/talk-2.mp3"} < set(rig.files())


def test_person_is_told_of_a_duplicate_and_where_its_transcript_lies(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        _transcribe(rig, "copy.mp3")
        notice = rig.house.ledger.notices.recent()[0].notice
        assert (notice.event, notice.title) == ("duplicate", "copy.mp3: duplicate")
        assert "outbox/talk.txt" in notice.body


@pytest.mark.parametrize("kept", [b"radio", b"caf\xe9"])
def test_duplicate_in_a_folder_of_any_name_is_linked_where_a_sidecar_can_spell_the_way(
    tmp_path: Path, kept: bytes
) -> None:
    folder = os.fsdecode(kept)
    with open_rig(tmp_path, FakeEngine(), **RECURSIVE) as rig:
        _transcribe(rig, f"{folder}/talk.mp3")
        _transcribe(rig, f"{folder}/copy.mp3")
        assert _job(rig, "copy.mp3").outputs == ["talk.txt", "talk.json"]
        _transcribe(rig, "elsewhere/other.mp3")
        spelled = State.DUPLICATE if kept.isascii() else State.COMPLETED
        assert _job(rig, "other.mp3").state is spelled


# --- what is no duplicate -----------------------------------------------------------------------


def test_other_content_under_the_same_name_is_new(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        _transcribe(rig, "talk.mp3", content=SOUND[::-1])
        assert [job.state for job in rig.house.ledger.jobs()] == [State.COMPLETED] * 2


@pytest.mark.parametrize(
    "changed", [{"engine": {"language": "cs"}}, {"output": {"formats": ["srt"]}}, {"output": {"highlight_words": True}}]
)
def test_same_content_with_other_settings_is_transcribed(tmp_path: Path, changed: dict[str, Any]) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
    with open_rig(tmp_path, FakeEngine(), **changed) as rig:
        _transcribe(rig, "copy.mp3")
        assert _states(rig) == {"talk.mp3": State.COMPLETED, "copy.mp3": State.COMPLETED}


def test_same_content_with_another_template_is_transcribed(tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("{text}")
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
    with open_rig(tmp_path, FakeEngine(), output={"md_template": tmp_path / "note.md"}) as rig:
        _transcribe(rig, "copy.mp3")
        assert _states(rig) == {"talk.mp3": State.COMPLETED, "copy.mp3": State.COMPLETED}


def test_options_that_older_versions_did_not_store_are_the_usual_ones(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        older = rig.only_job().options | {"output": {"formats": ["txt", "json"]}}
        rig.house.ledger.update(rig.only_job(), rig.house.clock.now(), options=older)
        _transcribe(rig, "copy.mp3")
        assert _job(rig, "copy.mp3").state is State.DUPLICATE


def test_settings_that_files_chose_decide_whether_a_recording_is_new(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3.toml", b'language = "de"')
        _transcribe(rig, "talk.mp3")
        _transcribe(rig, "plain.mp3")
        rig.drop("copy.mp3.toml", b'language = "de"\n')
        _transcribe(rig, "copy.mp3")
        assert _states(rig) == {
            "talk.mp3": State.COMPLETED,
            "plain.mp3": State.COMPLETED,
            "copy.mp3": State.DUPLICATE,
        }
        assert _job(rig, "copy.mp3").duplicate_of == _job(rig, "talk.mp3").job_id


def test_settings_that_a_profile_chose_are_the_same_as_those_of_a_file(tmp_path: Path) -> None:
    profile = [{"match": "talk.*", "language": "de"}]
    with open_rig(tmp_path, FakeEngine(), profile=profile) as rig:
        _transcribe(rig, "talk.mp3")
        rig.drop("copy.mp3.toml", b'language = "de"')
        _transcribe(rig, "copy.mp3")
        assert _job(rig, "copy.mp3").state is State.DUPLICATE


def test_settings_file_that_shapes_no_output_makes_no_recording_new(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        rig.drop("copy.mp3.toml", b"threads = 2\ntimeout_s = 99\nsidecar_every_s = 9\n")
        _transcribe(rig, "copy.mp3")
        assert _job(rig, "copy.mp3").state is State.DUPLICATE


def test_settings_file_goes_to_duplicates_with_its_recording_and_back_at_a_retry(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        rig.drop("copy.mp3.toml", b"")
        _transcribe(rig, "copy.mp3")
        assert {"duplicates/copy.mp3", "duplicates/copy.mp3.toml"} <= set(rig.files())
        (tmp_path / "duplicates/copy.mp3.toml").write_text('language = "de"')
        _ask(rig, "copy.mp3", Request.RETRY)
        assert {"archive/copy.mp3", "archive/copy.mp3.toml"} <= set(rig.files())
        assert _job(rig, "copy.mp3").options["engine"]["language"] == "de"
        assert _job(rig, "copy.mp3").state is State.COMPLETED


def test_deleting_a_duplicate_with_its_recording_takes_its_settings_file_too(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        before = rig.files()
        rig.drop("copy.mp3.toml", b"")
        _transcribe(rig, "copy.mp3")
        _ask(rig, "copy.mp3", Request.DELETE_RECORDING)
        assert rig.files() == before


def test_setting_of_the_machine_makes_no_recording_new(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
    with open_rig(tmp_path, FakeEngine(), engine={"threads": 3}, notify=[]) as rig:
        _transcribe(rig, "copy.mp3")
        assert _job(rig, "copy.mp3").state is State.DUPLICATE


def test_copy_is_transcribed_where_the_settings_want_it(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), spool={"on_duplicate": "transcribe"}) as rig:
        _transcribe(rig, "talk.mp3")
        _transcribe(rig, "copy.mp3")
        assert _states(rig) == {"talk.mp3": State.COMPLETED, "copy.mp3": State.COMPLETED}
        assert (tmp_path / "outbox/copy.txt").exists()


def _edit(root: Path) -> None:
    (root / "outbox/talk.txt").write_text("corrected by hand")


def _take_away(root: Path) -> None:
    (root / "outbox/talk.json").unlink()


def _put_a_folder(root: Path) -> None:
    (root / "outbox/talk.txt").unlink()
    (root / "outbox/talk.txt").mkdir()


def _put_a_link(root: Path) -> None:
    (root / "outbox/talk.txt").rename(root / "talk.txt")
    (root / "outbox/talk.txt").symlink_to(root / "talk.txt")


@pytest.mark.parametrize("spoil", [_edit, _take_away, _put_a_folder, _put_a_link])
def test_copy_is_transcribed_when_the_outputs_of_the_first_are_not_as_they_were_published(
    tmp_path: Path, spoil: Any
) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        spoil(tmp_path)
        _transcribe(rig, "copy.mp3")
        assert _job(rig, "copy.mp3").state is State.COMPLETED


def test_copy_of_a_deleted_job_is_transcribed(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        _ask(rig, "talk.mp3", Request.DELETE)
        _transcribe(rig, "copy.mp3")
        assert _states(rig) == {"copy.mp3": State.COMPLETED}


def test_copy_of_a_job_that_somebody_asks_to_delete_meanwhile_is_transcribed(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        rig.drop("copy.mp3", SOUND)
        rig.claim_all()
        _work_while(rig, lambda: rig.house.ledger.ask(_job(rig, "talk.mp3"), Request.DELETE))
        assert _job(rig, "copy.mp3").state is State.COMPLETED


def test_copy_of_a_failed_recording_is_tried_by_itself(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine({"talk.mp3": [NO_MEDIA]})) as rig:
        _transcribe(rig, "talk.mp3", "wrong.mp3")
        assert _states(rig) == {"talk.mp3": State.FAILED, "wrong.mp3": State.COMPLETED}


def test_jobs_of_another_instance_are_not_looked_at(tmp_path: Path) -> None:
    with open_rig(tmp_path / "spool", FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
    with open_rig(tmp_path / "spool", FakeEngine(), spool={"state_dir": tmp_path / "other"}) as rig:
        _transcribe(rig, "copy.mp3")
        assert rig.only_job().state is State.COMPLETED


def test_job_of_a_version_that_kept_no_hashes_of_its_outputs_proves_nothing(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        rig.house.ledger.update(rig.only_job(), rig.house.clock.now(), outputs_sha256={})
        _transcribe(rig, "copy.mp3")
        assert _job(rig, "copy.mp3").state is State.COMPLETED


def test_copy_that_changed_after_it_was_read_is_looked_at_again(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        rig.drop("other.mp3", SOUND)
        (job,) = rig.claim_all()
        _work_while(rig, lambda: job.source_path(tmp_path).write_bytes(SOUND[::-1]))
        waiting = _job(rig, "other.mp3")
        assert waiting.error is not None
        assert (waiting.state, waiting.error.reason) == (State.PENDING, "source_changed")
        rig.hand.move(3600)
        rig.work()
        assert _job(rig, "other.mp3").state is State.COMPLETED


# --- while the first is in work -----------------------------------------------------------------


def test_two_copies_dropped_at_once_are_transcribed_once(tmp_path: Path) -> None:
    engine = FakeEngine()
    with open_rig(tmp_path, engine) as rig:
        _transcribe(rig, "a.mp3", "b.mp3")
        assert sorted(_states(rig).values()) == [State.COMPLETED, State.DUPLICATE]
        assert len(engine.requests) == 1


class Simultaneous:
    """A ledger in which two copies look for each other at the same moment, if they are let."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._both = threading.Barrier(2, timeout=0.5)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def same_content(self, sha256: str) -> list[Job]:
        with contextlib.suppress(threading.BrokenBarrierError):
            self._both.wait()
        found = self._ledger.same_content(sha256)
        with contextlib.suppress(threading.BrokenBarrierError):
            self._both.wait()
        return found


def test_of_two_copies_that_meet_in_work_one_waits_for_the_other(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("a.mp3", SOUND)
        rig.drop("b.mp3", SOUND)
        rig.claim_all()
        simultaneous: Any = Simultaneous(rig.house.ledger)
        house = replace(rig.house, ledger=simultaneous)
        places = Places(lambda _: rig.engine, 2)
        workers = [Worker(house, stop=rig.stop, places=places, name=name) for name in ("one", "other")]
        threads = [threading.Thread(target=_work, args=(worker, rig.hand.elapsed_s)) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        waited = [_reasons(rig, name).count("same_content") for name in ("a.mp3", "b.mp3")]
        assert sorted(waited) == [0, 1]
        rig.work()
        assert sorted(_states(rig).values()) == [State.COMPLETED, State.DUPLICATE]


def _work(worker: Worker, now_s: float) -> None:
    while worker.turn(now_s) == 0.0:
        pass


def _reasons(rig: Rig, name: str) -> list[str | None]:
    return [row["reason"] for row in rig.house.ledger.history(_job(rig, name))]


def _second_waits(rig: Rig, engine: FakeEngine) -> None:
    """Bring two copies to where the first waits for its next attempt, and the second for the first."""
    engine.scripts = {"a.mp3": [BUSY]}
    _transcribe(rig, "a.mp3")
    rig.drop("b.mp3", SOUND)
    rig.intake.turn(rig.hand.elapsed_s)
    rig.hand.move(6)
    rig.intake.turn(rig.hand.elapsed_s)
    rig.work()


def test_copy_that_arrives_while_the_first_is_in_work_waits_for_it_uncounted(tmp_path: Path) -> None:
    engine = FakeEngine()
    with open_rig(tmp_path, engine, retry={"backoff_s": 600, "max_attempts": 2}) as rig:
        _second_waits(rig, engine)
        first, second = rig.house.ledger.jobs()
        assert (second.state, second.attempts, second.duplicate_of) == (State.PENDING, 0, first.job_id)
        assert first.job_id[:8] in rig.sidecar("b")["message"]
        leases = [row for row in rig.house.ledger.history(second) if row["event"] == "leased"]
        rig.work()
        assert [row for row in rig.house.ledger.history(second) if row["event"] == "leased"] == leases
        engine.scripts = {}
        rig.hand.move(3600)
        rig.work()
        assert _states(rig) == {"a.mp3": State.COMPLETED, "b.mp3": State.DUPLICATE}


def test_copy_that_waited_for_a_recording_that_failed_is_worked_on(tmp_path: Path) -> None:
    engine = FakeEngine()
    with open_rig(tmp_path, engine, retry={"backoff_s": 600, "max_attempts": 2}) as rig:
        _second_waits(rig, engine)
        rig.hand.move(3600)
        rig.work()
        assert _states(rig) == {"a.mp3": State.FAILED, "b.mp3": State.COMPLETED}
        assert _job(rig, "b.mp3").duplicate_of is None
        assert rig.sidecar("b")["duplicate_of"] is None


def test_copy_that_waited_for_a_recording_that_was_cancelled_is_worked_on(tmp_path: Path) -> None:
    engine = FakeEngine()
    with open_rig(tmp_path, engine, retry={"backoff_s": 600}) as rig:
        _second_waits(rig, engine)
        _ask(rig, "a.mp3", Request.CANCEL)
        assert _states(rig) == {"a.mp3": State.CANCELLED, "b.mp3": State.COMPLETED}


def test_copy_that_waits_can_be_cancelled_and_then_points_at_nothing(tmp_path: Path) -> None:
    engine = FakeEngine()
    with open_rig(tmp_path, engine, retry={"backoff_s": 600}) as rig:
        _second_waits(rig, engine)
        _ask(rig, "b.mp3", Request.CANCEL)
        assert (_job(rig, "b.mp3").state, _job(rig, "b.mp3").duplicate_of) == (State.CANCELLED, None)


def test_third_copy_waits_for_the_first_and_not_for_the_second(tmp_path: Path) -> None:
    engine = FakeEngine()
    with open_rig(tmp_path, engine, retry={"backoff_s": 600}) as rig:
        _second_waits(rig, engine)
        rig.drop("c.mp3", SOUND)
        rig.intake.turn(rig.hand.elapsed_s)
        rig.hand.move(6)
        rig.intake.turn(rig.hand.elapsed_s)
        rig.work()
        assert _job(rig, "c.mp3").duplicate_of == _job(rig, "a.mp3").job_id
        engine.scripts = {}
        rig.hand.move(3600)
        rig.work()
        assert sorted(_states(rig).values()) == [State.COMPLETED, State.DUPLICATE, State.DUPLICATE]


# --- what people do with one --------------------------------------------------------------------


def test_retry_of_a_duplicate_transcribes_it_by_itself(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        _transcribe(rig, "copy.mp3")
        _ask(rig, "copy.mp3", Request.RETRY)
        job = _job(rig, "copy.mp3")
        assert (job.state, job.outputs, job.duplicate_of) == (State.COMPLETED, ["copy.txt", "copy.json"], None)
        assert {"archive/copy.mp3", "outbox/copy.txt"} < set(rig.files())
        assert not [name for name in rig.files() if name.startswith("duplicates/")]


def test_retry_of_a_failed_recording_transcribes_it_though_a_copy_has_been(tmp_path: Path) -> None:
    engine = FakeEngine({"talk.mp3": [NO_MEDIA]})
    with open_rig(tmp_path, engine) as rig:
        _transcribe(rig, "talk.mp3", "wrong.mp3")
        engine.scripts = {}
        _ask(rig, "talk.mp3", Request.RETRY)
        assert _job(rig, "talk.mp3").state is State.COMPLETED


def test_retry_leaves_a_strangers_file_beside_the_duplicate_alone(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        _transcribe(rig, "copy.mp3")
        (tmp_path / "duplicates/copy.mp3.reason.txt").write_text("mine")
        _ask(rig, "copy.mp3", Request.RETRY)
        assert (tmp_path / "duplicates/copy.mp3.reason.txt").read_text() == "mine"


@pytest.mark.parametrize("request_", [Request.DELETE, Request.DELETE_RECORDING])
def test_deleting_a_duplicate_leaves_the_transcripts_of_the_other_job(tmp_path: Path, request_: Request) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        before = rig.files()
        _transcribe(rig, "copy.mp3")
        _ask(rig, "copy.mp3", request_)
        kept = ["duplicates/copy.mp3"] if request_ is Request.DELETE else []
        assert rig.files() == sorted(before + kept)


# --- crashes and lost ledgers -------------------------------------------------------------------


def _lose_ledger(root: Path) -> None:
    for path in (root / ".state").glob("ledger.db*"):
        path.unlink()


def test_duplicates_come_back_when_the_ledger_is_lost(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), **RECURSIVE) as rig:
        _transcribe(rig, "radio/talk.mp3")
        _transcribe(rig, "phone/copy.mp3")
        before = _job(rig, "copy.mp3")
    _lose_ledger(tmp_path)
    with open_rig(tmp_path, FakeEngine(), **RECURSIVE) as rig:
        after = _job(rig, "copy.mp3")
        told = (
            "state",
            "job_id",
            "source",
            "outputs",
            "outputs_sha256",
            "duplicate_of",
            "message",
            "sha256",
            "options",
        )
        assert [getattr(after, name) for name in told] == [getattr(before, name) for name in told]
        _transcribe(rig, "again.mp3")
        assert _job(rig, "again.mp3").duplicate_of == before.duplicate_of


def test_copy_that_waits_comes_back_when_the_ledger_is_lost_and_is_looked_at_again(tmp_path: Path) -> None:
    engine = FakeEngine()
    with open_rig(tmp_path, engine, retry={"backoff_s": 600}) as rig:
        _second_waits(rig, engine)
    _lose_ledger(tmp_path)
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.work()
        assert sorted(_states(rig).values()) == [State.COMPLETED, State.DUPLICATE]


def test_job_whose_sidecar_says_duplicate_before_the_move_is_recognised_again(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        _transcribe(rig, "copy.mp3")
        job = _job(rig, "copy.mp3")
        folder = rig.house.spool.job_dir(job.job_id)
        folder.mkdir()
        (tmp_path / "duplicates/copy.mp3").rename(folder / "copy.mp3")
    _lose_ledger(tmp_path)
    with open_rig(tmp_path, FakeEngine()) as rig:
        assert (_job(rig, "copy.mp3").state, _job(rig, "copy.mp3").outputs) == (State.PENDING, [])
        rig.work()
        assert _job(rig, "copy.mp3").state is State.DUPLICATE
        assert "duplicates/copy.mp3" in rig.files()


@pytest.mark.parametrize(
    "fields",
    [
        {"duplicate_of": None},
        {"duplicate_of": "../../etc"},
        {"outputs": ["../.."]},
        {"outputs": ["../radio/"]},
        {"status": "completed", "duplicate_of": None},
    ],
)
def test_sidecar_of_a_duplicate_that_cannot_be_one_is_no_sidecar(tmp_path: Path, fields: dict[str, Any]) -> None:
    with open_rig(tmp_path, FakeEngine(), **RECURSIVE) as rig:
        _transcribe(rig, "radio/talk.mp3")
        _transcribe(rig, "copy.mp3")
    path = tmp_path / "outbox/copy.status.json"
    told = json.loads(path.read_bytes()) | {"outputs": ["../radio/talk.txt"]}
    path.write_text(json.dumps(told | fields))
    _lose_ledger(tmp_path)
    with open_rig(tmp_path, FakeEngine(), **RECURSIVE) as rig:
        assert _states(rig) == {"talk.mp3": State.COMPLETED}


def test_recovery_ends_a_recognition_that_a_fault_broke_off(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        rig.drop("copy.mp3", SOUND)
        rig.claim_all()
        (tmp_path / "duplicates").rename(tmp_path / "away")
        with pytest.raises(CesarError):
            rig.worker.turn(rig.hand.elapsed_s)
        (tmp_path / "away").rename(tmp_path / "duplicates")
        rig.work()
        job = _job(rig, "copy.mp3")
        assert (job.state, job.attempts) == (State.DUPLICATE, 1)


def test_recovery_leaves_a_duplicate_at_rest_alone(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        _transcribe(rig, "copy.mp3")
        before = rig.files(), rig.house.ledger.jobs()
        recovery.recover(rig.house)
        assert (rig.files(), rig.house.ledger.jobs()) == before
