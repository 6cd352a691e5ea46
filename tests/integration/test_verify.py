"""What `verify` finds: every damage that a hand can make; and what it is silent on: all that the service itself does.

Each damage is done to a spool on which the examination was silent just before.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sqlite3
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.errors import AttemptError, RecordingError
from cesar_watch.core.job import Job, Request, State
from cesar_watch.core.spool import Spool, create_spool
from cesar_watch.speech.protocol import Event, Transcribe
from cesar_watch.verify.examine import Examination, Report
from cesar_watch.verify.ledger import CannotLook
from tests.fakes import FakeEngine, window
from tests.service_builders import Rig, open_rig

NO_MEDIA = RecordingError("It is a text file.", reason="not_media")


def _examine(root: Path, *, running: bool = False, quick: bool = False, state_dir: Path | None = None) -> Report:
    return Examination(root, state_dir or root / ".state", lambda: running, quick, wait=lambda seconds: None).run()


def _found(root: Path, **how: Any) -> list[tuple[str, str]]:
    return [(finding.code, finding.shown_path) for finding in _examine(root, **how).findings]


def _engine() -> FakeEngine:
    """An engine for which `bad.mp3` is not media."""
    return FakeEngine({"bad.mp3": [NO_MEDIA]})


def _run(rig: Rig, *names: str) -> None:
    for name in names:
        number = len(rig.house.ledger.jobs())
        rig.drop(name, content=b"sound %d of %s" % (number, os.fsencode(name)))
    rig.claim_all()
    rig.work()


def _job(rig: Rig, name: str) -> Job:
    (job,) = (job for job in rig.house.ledger.jobs() if job.display_name == name)
    return job


def _asked(rig: Rig, name: str, request: Request) -> None:
    rig.house.ledger.ask(_job(rig, name), request)
    rig.work()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A spool with a completed, a failed and a waiting job, on which the examination is silent."""
    with open_rig(tmp_path, _engine()) as rig:
        _run(rig, "talk.mp3", "bad.mp3")
        rig.drop("next.mp3", b"sound to come")
        rig.claim_all()
    assert _found(tmp_path) == []
    return tmp_path


def _only(root: Path, pattern: str) -> Path:
    (path,) = root.glob(pattern)
    return path


def _sql(root: Path, statement: str, *values: object) -> None:
    with contextlib.closing(sqlite3.connect(root / ".state/ledger.db")) as database, database:
        assert database.execute(statement, values).rowcount != 0


# --- silence ----------------------------------------------------------------------------------------


def test_spool_on_which_nothing_has_run_is_clean(tmp_path: Path) -> None:
    create_spool(tmp_path)
    assert _examine(tmp_path) == Report(jobs=0, files=0, findings=[], others=[])


def test_jobs_and_files_are_counted(spool: Path) -> None:
    report = _examine(spool)
    assert report.jobs == 3
    assert report.files == len([path for path in spool.rglob("*") if path.is_file() and ".state" not in path.parts]) - 1


def test_quick_look_at_a_clean_spool_is_clean(spool: Path) -> None:
    assert _found(spool, quick=True) == []


def test_examination_changes_nothing(spool: Path) -> None:
    before = {path: path.read_bytes() for path in spool.rglob("*") if path.is_file()}
    _examine(spool)
    after = {path: path.read_bytes() for path in spool.rglob("*") if path.is_file()}
    assert {path: content for path, content in after.items() if content or path in before} == before


def test_recording_without_speech_is_clean(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(default=[window(0, "")]), output={"formats": ["txt", "srt", "vtt"]}) as rig:
        _run(rig, "talk.mp3")
    assert (tmp_path / "outbox/talk.txt").read_bytes() == b""
    assert _found(tmp_path) == []


def test_cancelled_job_is_clean(tmp_path: Path) -> None:
    with open_rig(tmp_path, _engine()) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        _asked(rig, "talk.mp3", Request.CANCEL)
        assert rig.only_job().state is State.CANCELLED
    assert _found(tmp_path) == []


@pytest.mark.parametrize("request_", [Request.DELETE, Request.DELETE_RECORDING])
@pytest.mark.parametrize("name", ["talk.mp3", "bad.mp3"])
def test_deleted_job_is_clean_whether_its_recording_stays_or_not(tmp_path: Path, name: str, request_: Request) -> None:
    with open_rig(tmp_path, _engine()) as rig:
        _run(rig, name)
        _asked(rig, name, request_)
        assert rig.house.ledger.jobs() == []
    assert _found(tmp_path) == []


@pytest.mark.parametrize("name", ["talk.mp3", "bad.mp3"])
def test_settings_file_beside_a_recording_is_clean_wherever_that_goes(tmp_path: Path, name: str) -> None:
    with open_rig(tmp_path, _engine()) as rig:
        rig.drop(f"{name}.toml", b'language = "de"')
        rig.drop(name, b"sound")
        rig.claim_all()
        assert len(list(tmp_path.glob(f"processing/*/*/{name}.toml"))) == 1
        assert _found(tmp_path) == []
        rig.work()
    assert _found(tmp_path) == []


def test_retried_job_is_clean_while_it_waits_and_when_it_is_completed(tmp_path: Path) -> None:
    engine = _engine()
    with open_rig(tmp_path, engine) as rig:
        _run(rig, "bad.mp3")
        rig.house.ledger.ask(rig.only_job(), Request.RETRY)
        engine.scripts = {}
        rig.work()
        assert rig.only_job().state is State.COMPLETED
    assert _found(tmp_path) == []


def test_two_recordings_of_one_name_are_clean(tmp_path: Path) -> None:
    with open_rig(tmp_path, _engine()) as rig:
        _run(rig, "talk.mp3")
        _run(rig, "talk.mp3")
        assert len(rig.house.ledger.jobs([State.COMPLETED])) == 2
    assert _found(tmp_path) == []


@pytest.mark.parametrize("name", [b"\xff.mp3", "kůň \N{SNOWMAN}.mp3".encode(), b"a\nb.mp3", b"x" * 251 + b".mp3"])
@pytest.mark.parametrize("bad", [False, True])
def test_recording_with_an_odd_name_is_clean(tmp_path: Path, name: bytes, bad: bool) -> None:
    with open_rig(tmp_path, FakeEngine(default=[NO_MEDIA] if bad else [window(0, "hello")])) as rig:
        _run(rig, os.fsdecode(name))
        assert rig.only_job().name == name
    assert _found(tmp_path) == []


def test_recording_from_a_subfolder_with_an_odd_name_is_clean(tmp_path: Path) -> None:
    with open_rig(tmp_path, _engine(), spool={"recursive": True}) as rig:
        _run(rig, os.fsdecode(b"r\xe4dio/talk.mp3"))
        assert rig.only_job().state is State.COMPLETED
    assert _found(tmp_path) == []


def test_ledger_that_was_rebuilt_is_clean(spool: Path) -> None:
    with open_rig(spool, _engine()) as rig:
        _run(rig, "talk.mp3")
    for path in (spool / ".state").glob("ledger.db*"):
        path.unlink()
    with open_rig(spool, _engine()) as rig:
        assert len(rig.house.ledger.jobs()) == 4
    assert _found(spool) == []


@pytest.mark.parametrize(
    ("version", "columns", "fields"),
    [
        (1, ("outputs_sha256", "interruptions", "duplicate_of"), {"outputs_sha256", "instance", "duplicate_of"}),
        (2, ("duplicate_of",), {"duplicate_of"}),
    ],
)
def test_ledger_and_sidecar_of_an_earlier_version_are_clean(
    spool: Path, version: int, columns: tuple[str, ...], fields: set[str]
) -> None:
    for column in columns:
        _sql(spool, f"ALTER TABLE job DROP COLUMN {column}")
    _sql(spool, f"PRAGMA user_version = {version}")
    path = spool / "outbox/talk.status.json"
    told = json.loads(path.read_bytes())
    path.write_text(json.dumps({key: told[key] for key in told.keys() - fields}))
    assert _found(spool) == []


def test_files_that_people_put_into_rooms_of_theirs_are_clean(spool: Path) -> None:
    for name in ("archive/mine.mp3", "failed/old/mine.mp3", "outbox/notes.txt", "outbox/mine.status.json", "inbox/a"):
        (spool / name).parent.mkdir(exist_ok=True)
        (spool / name).write_bytes(b"mine")
    assert _found(spool) == []


def test_spool_at_every_step_of_a_running_service_is_clean(tmp_path: Path) -> None:
    """Looked at before and after each rename, where the service stands still in the middle of a step."""
    looks: list[Path] = []
    engine = _Looking(lambda: looks.append(_assert_clean(tmp_path)))
    with open_rig(tmp_path, engine) as rig:
        real = rig.house.spool.rename

        def rename(source: Path, target: Path) -> None:
            looks.append(_assert_clean(tmp_path))
            real(source, target)
            looks.append(_assert_clean(tmp_path))

        spool = rig.house.spool
        rig.house.spool = Spool(spool.root, spool.instance, spool.spool_id, rename)
        _run(rig, "talk.mp3", "bad.mp3")
        rig.drop("next.mp3")
        rig.claim_all()
        _asked(rig, "next.mp3", Request.CANCEL)
        _asked(rig, "bad.mp3", Request.RETRY)
        _asked(rig, "bad.mp3", Request.DELETE)
    assert len(looks) > 30


class _Looking(FakeEngine):
    """Calls `look` at each event of an attempt."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__({"bad.mp3": [NO_MEDIA]})
        self._look = look

    def transcribe(self, request: Transcribe, **polling: Any) -> Generator[Event, None, None]:
        for event in super().transcribe(request, **polling):
            self._look()
            yield event


def _assert_clean(root: Path) -> Path:
    assert _found(root, running=True) == []
    return root


class Died(BaseException):
    """The process ends here; nothing of it may tidy up."""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_spool_on_which_a_service_died_holds_leftovers_at_most_and_is_clean_after_the_next_start(
    tmp_path: Path, moment: str
) -> None:
    """Died at the first rename of a life, at the second ..., until it lives to its end."""
    for point in itertools.count(1):
        root = tmp_path / str(point)
        lived = _die(root, point, moment)
        assert {code for code, _ in _found(root)} <= {"temporary_left"}, point
        with open_rig(root, _engine()):
            pass
        assert _found(root) == [], point
        if lived:
            break
    assert point > 10


def _die(root: Path, point: int, moment: str) -> bool:
    """Live until the rename of this number; return whether there were fewer."""
    renames = itertools.count(1)
    with contextlib.suppress(Died), open_rig(root, _engine()) as rig:
        real = rig.house.spool.rename

        def rename(source: Path, target: Path) -> None:
            is_hit = next(renames) == point
            if is_hit and moment == "before":
                raise Died
            real(source, target)
            if is_hit:
                raise Died

        spool = rig.house.spool
        rig.house.spool = Spool(spool.root, spool.instance, spool.spool_id, rename)
        _run(rig, "talk.mp3", "bad.mp3")
        _asked(rig, "bad.mp3", Request.RETRY)
        return True
    return False


def test_two_instances_on_one_spool_are_clean_for_each_other(tmp_path: Path) -> None:
    root, states = tmp_path / "spool", [tmp_path / "one", tmp_path / "two"]
    for number, state_dir in enumerate(states):
        with open_rig(root, _engine(), spool={"state_dir": state_dir}) as rig:
            _run(rig, f"talk{number}.mp3")
            rig.drop(f"next{number}.mp3")
            rig.claim_all()
    for state_dir in states:
        report = _examine(root, state_dir=state_dir)
        assert (report.findings, report.jobs, len(report.others)) == ([], 2, 1)


def test_job_that_goes_on_between_the_two_looks_is_not_a_finding(tmp_path: Path) -> None:
    """The first look falls into a torn moment: the recording is between two places that no row names."""
    with open_rig(tmp_path, _engine()) as rig:
        _run(rig, "bad.mp3")
        job = rig.only_job()
        away = tmp_path / "elsewhere"
        job.source_path(tmp_path).rename(away)

        def go_on(_seconds: float) -> None:
            away.rename(job.source_path(tmp_path))
            rig.house.ledger.update(job, rig.house.clock.now(), message="went on")

        report = Examination(tmp_path, tmp_path / ".state", lambda: True, wait=go_on).run()
    assert report.findings == []


def test_job_whose_row_changes_between_the_two_looks_is_left_for_the_next_time(tmp_path: Path) -> None:
    with open_rig(tmp_path, _engine()) as rig:
        _run(rig, "bad.mp3")
        job = rig.only_job()
        job.source_path(tmp_path).unlink()

        def change(_seconds: float) -> None:
            rig.house.ledger.update(job, rig.house.clock.now(), message="at work")

        assert Examination(tmp_path, tmp_path / ".state", lambda: True, wait=change).run().findings == []
        assert [code for code, _ in _found(tmp_path, running=True)] == ["recording_gone"]


# --- damage: recordings -------------------------------------------------------------------------------


def test_archived_recording_that_was_taken_away_is_gone(spool: Path) -> None:
    (spool / "archive/talk.mp3").unlink()
    assert _found(spool) == [("recording_gone", "archive/talk.mp3")]


def test_archived_recording_that_was_swapped_is_found_by_its_size_in_a_quick_look_too(spool: Path) -> None:
    (spool / "archive/talk.mp3").write_bytes(b"another sound")
    assert _found(spool, quick=True) == [("recording_changed", "archive/talk.mp3")]


def test_archived_recording_swapped_for_one_of_equal_size_is_found_by_its_hash(spool: Path) -> None:
    path = spool / "archive/talk.mp3"
    stat = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    assert _found(spool, quick=True) == [("recording_changed", "archive/talk.mp3")]
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert _found(spool, quick=True) == []
    assert _found(spool) == [("recording_changed", "archive/talk.mp3")]


def test_waiting_recording_that_changed_is_changing(spool: Path) -> None:
    path = _only(spool, "processing/*/*/next.mp3")
    path.write_bytes(b"sound and more")
    assert _found(spool) == [("recording_changing", str(path.relative_to(spool)))]


def test_row_without_folder_is_a_lost_recording(spool: Path) -> None:
    path = _only(spool, "processing/*/*/next.mp3")
    path.unlink()
    path.parent.rmdir()
    assert _found(spool) == [("recording_lost", str(path.relative_to(spool)))]


def test_link_in_place_of_a_recording_is_found_and_not_followed(spool: Path) -> None:
    path = spool / "archive/talk.mp3"
    path.rename(spool / "talk.mp3")
    path.symlink_to(spool / "talk.mp3")
    assert _found(spool) == [("recording_replaced", "archive/talk.mp3")]


@pytest.mark.parametrize("second", ["inbox/talk.mp3", "archive/talk-2.mp3", "duplicates/talk.mp3", "outbox/talk.mp3"])
def test_recording_with_a_second_name_in_the_spool_is_found(spool: Path, second: str) -> None:
    (spool / second).hardlink_to(spool / "archive/talk.mp3")
    assert _found(spool) == [("recording_twice", second)]


def test_recording_with_a_second_name_outside_of_the_spool_is_nobodys_affair(spool: Path, tmp_path: Path) -> None:
    (tmp_path / "backup.mp3").hardlink_to(spool / "archive/talk.mp3")
    assert _found(spool) == []


def test_two_rows_of_one_recording_are_found(spool: Path) -> None:
    with open_rig(spool, _engine()) as rig:
        _run(rig, "talk.mp3")
    _sql(spool, "UPDATE job SET source = ? WHERE source = ?", b"archive/talk.mp3", b"archive/talk-2.mp3")
    assert ("recording_shared", "archive/talk.mp3") in _found(spool)


def test_recording_in_a_room_that_is_not_for_its_state_is_found(spool: Path) -> None:
    (spool / "archive/talk.mp3").rename(spool / "failed/talk.mp3")
    _sql(spool, "UPDATE job SET source = ? WHERE source = ?", b"failed/talk.mp3", b"archive/talk.mp3")
    assert ("recording_misplaced", "failed/talk.mp3") in _found(spool)


def test_recording_with_an_undecodable_name_is_shown_escaped_and_given_as_base64(tmp_path: Path) -> None:
    with open_rig(tmp_path, _engine()) as rig:
        _run(rig, os.fsdecode(b"\xff\n.mp3"))
        rig.only_job().source_path(tmp_path).unlink()
    (finding,) = _examine(tmp_path).findings
    assert finding.shown_path == "archive/\\xff\\x0a.mp3"
    assert finding.as_mapping()["path_b64"] == "YXJjaGl2ZS//Ci5tcDM="


# --- damage: processing ---------------------------------------------------------------------------------


def test_folder_without_row_is_found(spool: Path) -> None:
    _sql(spool, "DELETE FROM transitions WHERE job_id = (SELECT job_id FROM job WHERE state = 'pending')")
    _sql(spool, "DELETE FROM job WHERE state = 'pending'")
    folder = _only(spool, "processing/*/*/next.mp3").parent
    assert _found(spool) == [("folder_unknown", str(folder.relative_to(spool)))]


@pytest.mark.parametrize("name", ["stray.mp3", "{own}/stray.mp3", "{own}/notes/stray.mp3", "{job}/stray.mp3"])
def test_foreign_file_in_processing_is_found(spool: Path, name: str) -> None:
    job = _only(spool, "processing/*/*/next.mp3").parent.relative_to(spool / "processing")
    path = spool / "processing" / name.format(own=job.parent, job=job)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"stray")
    ((code, where),) = _found(spool)
    assert code == "file_foreign"
    assert str(path.relative_to(spool)).startswith(where)


@pytest.mark.parametrize("name", ["{own}/.cesar-1", "{job}/.cesar-1", "../.cesar-1", "../.state/.cesar-1"])
def test_temporary_file_is_a_leftover_only_while_no_service_runs(spool: Path, name: str) -> None:
    job = _only(spool, "processing/*/*/next.mp3").parent.relative_to(spool / "processing")
    path = spool / "processing" / name.format(own=job.parent, job=job)
    path.write_bytes(b"half")
    assert _found(spool, running=True) == []
    assert _found(spool) == [("temporary_left", str(path.resolve().relative_to(spool)))]


def test_empty_job_folder_is_a_leftover_only_while_no_service_runs(spool: Path) -> None:
    folder = _only(spool, "processing/*") / "0123456789abcdef"
    folder.mkdir()
    assert _found(spool, running=True) == []
    assert _found(spool) == [("temporary_left", str(folder.relative_to(spool)))]


# --- duplicates -----------------------------------------------------------------------------------------


@pytest.fixture
def doubled(tmp_path: Path) -> Path:
    """A spool with a completed job in one folder and its duplicate in another."""
    with open_rig(tmp_path, _engine(), spool={"recursive": True}) as rig:
        for name in ("radio/talk.mp3", "phone/copy.mp3"):
            rig.drop(name, b"the same sound")
            rig.claim_all()
            rig.work()
        assert _job(rig, "copy.mp3").state is State.DUPLICATE
    assert _found(tmp_path) == []
    return tmp_path


def test_copy_that_waits_for_the_first_is_clean(tmp_path: Path) -> None:
    trouble = AttemptError("A passing trouble.", reason="attempt_failed")
    with open_rig(tmp_path, FakeEngine({"a.mp3": [trouble]}), retry={"backoff_s": 600}) as rig:
        for name in ("a.mp3", "b.mp3"):
            rig.drop(name, b"the same sound")
        rig.claim_all()
        rig.work()
        assert _job(rig, "b.mp3").duplicate_of == _job(rig, "a.mp3").job_id
    assert _found(tmp_path) == []


def test_retried_duplicate_is_clean(doubled: Path) -> None:
    with open_rig(doubled, _engine()) as rig:
        _asked(rig, "copy.mp3", Request.RETRY)
        assert _job(rig, "copy.mp3").state is State.COMPLETED
    assert _found(doubled) == []


def test_duplicate_of_a_job_that_was_deleted_points_at_nothing(doubled: Path) -> None:
    with open_rig(doubled, _engine()) as rig:
        _asked(rig, "talk.mp3", Request.DELETE)
    assert _found(doubled) == [
        ("duplicate_dangling", "outbox/radio/talk.txt"),
        ("duplicate_dangling", "outbox/radio/talk.json"),
    ]


def test_edited_transcript_of_a_duplicate_is_a_finding_about_its_own_job_only(doubled: Path) -> None:
    (doubled / "outbox/radio/talk.txt").write_text("corrected by hand")
    assert _found(doubled) == [("output_changed", "outbox/radio/talk.txt")]


def test_recording_of_a_duplicate_that_changed_or_is_gone_is_found(doubled: Path) -> None:
    recording = doubled / "duplicates/phone/copy.mp3"
    recording.write_bytes(b"the same noise")
    assert _found(doubled) == [("recording_changed", "duplicates/phone/copy.mp3")]
    recording.unlink()
    assert _found(doubled) == [("recording_gone", "duplicates/phone/copy.mp3")]


def test_duplicate_in_another_room_is_found(doubled: Path) -> None:
    (doubled / "duplicates/phone/copy.mp3").rename(doubled / "archive/copy.mp3")
    _sql(doubled, "UPDATE job SET source = ? WHERE state = 'duplicate'", b"archive/copy.mp3")
    found = _found(doubled)
    assert ("recording_misplaced", "archive/copy.mp3") in found
    assert ("sidecar_differs", "outbox/phone/copy.status.json") in found


def test_sidecar_of_a_duplicate_that_names_another_job_is_found(doubled: Path) -> None:
    path = doubled / "outbox/phone/copy.status.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"duplicate_of": "f" * 16}))
    assert _found(doubled) == [("sidecar_differs", "outbox/phone/copy.status.json")]


def test_duplicate_that_points_out_of_the_outbox_is_found(doubled: Path) -> None:
    (doubled / "talk.txt").write_text("out of the outbox")
    path = doubled / "outbox/phone/copy.status.json"
    outputs, hashes = ["../../talk.txt"], {"../../talk.txt": "0" * 64}
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"outputs": outputs, "outputs_sha256": hashes}))
    _sql(
        doubled,
        "UPDATE job SET outputs = ?, outputs_sha256 = ? WHERE state = 'duplicate'",
        *(json.dumps(outputs), json.dumps(hashes)),
    )
    assert _found(doubled) == [("duplicate_dangling", "talk.txt")]


def test_row_of_a_duplicate_of_nothing_is_damaged(doubled: Path) -> None:
    _sql(doubled, "UPDATE job SET duplicate_of = NULL WHERE state = 'duplicate'")
    assert ("row_damaged", ".state/ledger.db") in _found(doubled)


def test_notice_of_a_duplicate_without_its_job_is_found(doubled: Path) -> None:
    _sql(doubled, "UPDATE notice SET job_id = 'nobody' WHERE event = 'duplicate'")
    assert ("notice_wrong", ".state/ledger.db") in _found(doubled)


# --- damage: outbox and failed ----------------------------------------------------------------------------


def test_output_that_was_edited_is_found(spool: Path) -> None:
    (spool / "outbox/talk.txt").write_text("hello word\n")
    assert _found(spool) == [("output_changed", "outbox/talk.txt")]


def test_output_that_was_edited_is_found_after_the_ledger_was_rebuilt(spool: Path) -> None:
    (spool / "outbox/talk.txt").write_text("hello word\n")
    for path in (spool / ".state").glob("ledger.db*"):
        path.unlink()
    with open_rig(spool, _engine()):
        pass
    assert _found(spool) == [("output_changed", "outbox/talk.txt")]


def test_output_without_a_remembered_hash_must_still_be_whole(spool: Path) -> None:
    _sql(spool, "UPDATE job SET outputs_sha256 = '{}' WHERE state = 'completed'")
    fields = json.loads((spool / "outbox/talk.status.json").read_bytes())
    (spool / "outbox/talk.status.json").write_text(json.dumps(fields | {"outputs_sha256": {}}))
    (spool / "outbox/talk.txt").write_text("hello word\n")
    assert _found(spool) == []
    (spool / "outbox/talk.json").write_text('{"text": "hel')
    assert _found(spool) == [("output_damaged", "outbox/talk.json")]
    (spool / "outbox/talk.json").write_bytes(b"")
    assert _found(spool) == [("output_empty", "outbox/talk.json")]


def test_output_that_was_taken_away_or_replaced_by_a_folder_is_found(spool: Path) -> None:
    (spool / "outbox/talk.txt").unlink()
    assert _found(spool) == [("output_missing", "outbox/talk.txt")]
    (spool / "outbox/talk.txt").mkdir()
    assert _found(spool) == [("output_replaced", "outbox/talk.txt")]


@pytest.mark.parametrize("duration_s", [None, 0.0])
def test_completed_job_of_which_nothing_was_decoded_is_found(spool: Path, duration_s: float | None) -> None:
    _sql(spool, "UPDATE job SET duration_s = ? WHERE state = 'completed'", duration_s)
    assert _found(spool) == [("nothing_decoded", "archive/talk.mp3")]


def test_completed_job_without_a_format_it_was_to_have_is_found(spool: Path) -> None:
    _sql(spool, "UPDATE job SET outputs = '[\"talk.txt\"]' WHERE state = 'completed'")
    assert ("outputs_incomplete", "outbox") in _found(spool)


@pytest.mark.parametrize("base", ["talk", "bad", "next"])
def test_sidecar_that_was_deleted_is_found(spool: Path, base: str) -> None:
    (spool / f"outbox/{base}.status.json").unlink()
    assert _found(spool) == [("sidecar_missing", f"outbox/{base}.status.json")]


def test_other_file_in_place_of_a_sidecar_is_found(spool: Path) -> None:
    (spool / "outbox/talk.status.json").write_text("mine")
    assert _found(spool) == [("sidecar_foreign", "outbox/talk.status.json")]


@pytest.mark.parametrize(
    "changes",
    [{"status": "failed"}, {"outputs": ["talk.txt"]}, {"outputs_sha256": {}}, {"source": {"sha256": "ab", "path": ""}}],
    ids=lambda changes: next(iter(changes)),
)
def test_sidecar_that_differs_from_its_row_is_found(spool: Path, changes: dict[str, Any]) -> None:
    path = spool / "outbox/talk.status.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))
    assert {code for code, _ in _found(spool)} == {"sidecar_differs"}


def test_sidecar_that_says_completed_of_a_waiting_job_is_found(spool: Path) -> None:
    path = spool / "outbox/next.status.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"status": "completed"}))
    assert _found(spool) == [("sidecar_differs", "outbox/next.status.json")]


def test_second_sidecar_of_a_job_is_found(spool: Path) -> None:
    (spool / "outbox/copy.status.json").write_bytes((spool / "outbox/talk.status.json").read_bytes())
    assert _found(spool) == [("sidecar_twice", "outbox/copy.status.json")]


def _forget(root: Path, state: str) -> None:
    for table in ("transitions", "notice"):
        _sql(root, f"DELETE FROM {table} WHERE job_id = (SELECT job_id FROM job WHERE state = ?)", state)
    _sql(root, "DELETE FROM job WHERE state = ?", state)


def test_sidecar_and_recording_without_row_are_found(spool: Path) -> None:
    _forget(spool, "completed")
    assert _found(spool) == [("row_missing", "outbox/talk.status.json")]


@pytest.mark.parametrize("told", [True, False])
def test_sidecar_without_row_beside_another_instance_counts_only_if_it_says_that_it_is_ours(
    spool: Path, told: bool
) -> None:
    (spool / "processing/00000000").mkdir()
    path = spool / "outbox/talk.status.json"
    fields = json.loads(path.read_bytes())
    if not told:
        del fields["instance"]
    path.write_text(json.dumps(fields))
    _forget(spool, "completed")
    assert _found(spool) == ([("row_missing", "outbox/talk.status.json")] if told else [])


def test_sidecar_without_row_and_recording_is_found(spool: Path) -> None:
    _forget(spool, "completed")
    (spool / "archive/talk.mp3").unlink()
    assert _found(spool) == [("sidecar_orphan", "outbox/talk.status.json")]


def test_reason_that_was_deleted_or_replaced_is_found(spool: Path) -> None:
    (spool / "failed/bad.mp3.reason.txt").unlink()
    assert _found(spool) == [("reason_missing", "failed/bad.mp3.reason.txt")]
    (spool / "failed/bad.mp3.reason.txt").write_text("mine")
    assert _found(spool) == [("reason_foreign", "failed/bad.mp3.reason.txt")]


# --- damage: the ledger -------------------------------------------------------------------------------------


def test_ledger_of_another_spool_is_found_and_folders_are_not_compared_to_it(spool: Path) -> None:
    _sql(spool, "UPDATE meta SET value = 'another' WHERE key = 'spool_id'")
    assert _found(spool) == [("ledger_other_spool", ".state/ledger.db")]


@pytest.mark.parametrize(
    ("pragma", "code"), [("application_id = 1", "ledger_foreign"), ("user_version = 99", "ledger_version")]
)
def test_ledger_of_another_program_or_version_is_found(spool: Path, pragma: str, code: str) -> None:
    with contextlib.closing(sqlite3.connect(spool / ".state/ledger.db", isolation_level=None)) as database:
        database.execute(f"PRAGMA {pragma}")
    assert _found(spool) == [(code, ".state/ledger.db")]


def test_ledger_that_is_gone_or_empty_is_one_finding(spool: Path) -> None:
    (spool / ".state/ledger.db").write_bytes(b"")
    assert _found(spool) == [("ledger_missing", ".state/ledger.db")]
    (spool / ".state/ledger.db").unlink()
    assert _found(spool) == [("ledger_missing", ".state/ledger.db")]


@pytest.mark.parametrize("damage", ["garbage", "truncated", "page", "wal"])
def test_ledger_that_is_damaged_is_found(spool: Path, damage: str) -> None:
    path = spool / ".state/ledger.db"
    content = path.read_bytes()
    if damage == "wal":
        path.with_name("ledger.db-wal").write_bytes(b"garbage!" * 100)
    elif damage == "page":
        path.write_bytes(content[:8192] + b"\xa5" * 4096 + content[12288:])
    else:
        path.write_bytes(b"garbage!" * 1000 if damage == "garbage" else content[: len(content) // 2])
    assert "ledger_damaged" in {code for code, _ in _found(spool)}


@pytest.mark.parametrize(
    "change",
    [
        "state = 'lost'",
        "options = '{'",
        "outputs = '[\"../talk.txt\"]'",
        "source = CAST('/etc/passwd' AS BLOB)",
        "created_at = 'yesterday'",
        "sha256 = 'x'",
        "base = CAST(x'ff2f' AS TEXT)",
    ],
)
def test_row_that_cannot_be_understood_is_found(spool: Path, change: str) -> None:
    _sql(spool, f"UPDATE job SET {change} WHERE state = 'completed'")
    assert ("row_damaged", ".state/ledger.db") in _found(spool)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE transitions SET from_state = 'failed' WHERE event = 'transcribed'",
        "DELETE FROM transitions WHERE event = 'published'",
        "DELETE FROM transitions WHERE event = 'transcribed'",
        "INSERT INTO transitions (job_id, event, from_state, to_state, attempt, at) VALUES ('x', 'a', 'b', 'c', 1, 1)",
    ],
)
def test_history_that_does_not_lead_to_the_state_is_found(spool: Path, statement: str) -> None:
    _sql(spool, statement)
    assert _found(spool) == [("history_broken", ".state/ledger.db")]


@pytest.mark.parametrize(
    "change", ["status = 'lost'", "status = 'sent'", "job_id = 'x'", "event = 'completed', job_id = 'x'"]
)
def test_notice_that_cannot_be_right_is_found(spool: Path, change: str) -> None:
    _sql(spool, f"UPDATE notice SET {change} WHERE event = 'failed'")
    assert _found(spool) == [("notice_wrong", ".state/ledger.db")]


def test_notice_of_a_completed_job_that_is_not_completed_is_found(spool: Path) -> None:
    _sql(spool, "UPDATE notice SET event = 'completed' WHERE event = 'failed'")
    assert _found(spool) == [("notice_wrong", ".state/ledger.db")]


def test_instance_id_that_is_gone_is_found(spool: Path) -> None:
    (spool / ".state/instance").unlink()
    assert ("instance_damaged", ".state/instance") in _found(spool)


# --- what can't be looked at ----------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [".cesar-watch", "archive"])
def test_spool_without_marker_or_room_cannot_be_looked_at(spool: Path, missing: str) -> None:
    (spool / missing).rename(spool / "elsewhere")
    with pytest.raises(CannotLook, match="mount the share"):
        _examine(spool)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["archive/talk.mp3", "outbox/closed"])
def test_file_or_folder_that_may_not_be_read_is_a_finding_of_its_own(spool: Path, name: str) -> None:
    (spool / "outbox/closed").mkdir()
    (spool / name).chmod(0)
    found = _found(spool)
    (spool / name).chmod(0o700)
    assert found == [("unreadable", name)]
