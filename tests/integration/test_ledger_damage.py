"""A ledger that is deleted, damaged, older than the folders or somebody else's: what the next start makes of it."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.errors import AttemptError, LedgerError, RecordingError
from cesar_watch.core.job import Job, Request, State
from cesar_watch.core.tables import APPLICATION_ID, SCHEMA_VERSION
from cesar_watch.service.house import open_house, visit_house
from cesar_watch.service.requests import carry_out_requests
from tests.fakes import FakeEngine, window
from tests.service_builders import Rig, open_rig, settings_for

Damage = Callable[[Path], object]
PAGE = 4096
KEPT = re.compile(r"ledger\.db\.damaged-\d{8}T\d{6}Z")


@pytest.fixture
def lived(tmp_path: Path) -> Path:
    """The root of a spool with a job in every state that a job can be left in, and no service."""
    crash = AttemptError("The engine died.", reason="engine_crashed")
    engine = FakeEngine(
        {"bad.mp3": [RecordingError("No.", reason="not_media")], "half.mp3": [window(0, "hello"), crash]}
    )
    root = tmp_path / "spool"
    with open_rig(root, engine, spool={"recursive": True}) as rig:
        for name in ("done.mp3", "radio/done.mp3", "bad.mp3", "half.mp3"):
            rig.drop(name, name.encode())
        rig.claim_all()
        rig.work()
        for name in ("stop.mp3", "wait.mp3"):
            rig.drop(name, name.encode())
        rig.house.ledger.ask(next(job for job in rig.claim_all() if job.name == b"stop.mp3"), Request.CANCEL)
        carry_out_requests(rig.house)
    return root


def ledger_of(root: Path) -> Path:
    return root / ".state" / "ledger.db"


def known(rig: Rig) -> dict[str, tuple[Any, ...]]:
    """What a ledger must know again of each job when it was made from the folders."""
    return {job.job_id: essence(job) for job in rig.house.ledger.jobs()}


def essence(job: Job) -> tuple[Any, ...]:
    where = (job.name, job.subfolder, job.base, job.source, job.identity)
    return (job.state, job.sha256, job.outputs, job.outputs_sha256, job.attempts, job.error, job.options, where)


def look(root: Path) -> dict[str, tuple[Any, ...]]:
    """Return what the ledger knows, without recovering anything."""
    with visit_house(settings_for(root)) as house:
        return {job.job_id: essence(job) for job in house.ledger.jobs()}


# --- ways to damage -----------------------------------------------------------------------------


def at(offset: int, content: bytes) -> Damage:
    """Overwrite bytes; a negative offset counts pages from the end."""

    def damage(path: Path) -> None:
        with path.open("r+b") as stream:
            stream.seek(offset if offset >= 0 else path.stat().st_size + offset * PAGE)
            stream.write(content)

    return damage


def statement(text: str) -> Damage:
    def damage(path: Path) -> None:
        with closing(sqlite3.connect(path)) as plain:
            plain.execute(text)
            plain.commit()

    return damage


def cut(keep: Callable[[int], int]) -> Damage:
    return lambda path: os.truncate(path, keep(path.stat().st_size))


def replaced(content: bytes) -> Damage:
    return lambda path: path.write_bytes(content)


def beside(ending: str, content: bytes) -> Damage:
    return lambda path: Path(f"{path}{ending}").write_bytes(content)


def swapped_index_entries(path: Path) -> None:
    """Let an index tell what its table does not, which only a full check sees."""
    content = path.read_bytes()
    page, entry = next(
        (number, index)
        for number in range(0, len(content), PAGE)
        if content[number] == 10 and (index := content.find(b"pending", number, number + PAGE)) > 0
    )
    assert page < entry
    at(entry, b"pendinG")(path)


DAMAGES: dict[str, Damage] = {
    "not_a_database": replaced(b"not a database at all " * 400),
    "shorter_than_a_header": replaced(b"SQLite format 3\0"),
    "header_zeroed": at(0, bytes(100)),
    "first_page_zeroed": at(0, bytes(PAGE)),
    "page_size_impossible": at(16, b"\x12\x34"),
    "cut_in_half": cut(lambda size: size // 2 // PAGE * PAGE),
    "cut_within_a_page": cut(lambda size: size - 100),
    "cut_by_a_page": cut(lambda size: size - PAGE),
    "page_zeroed": at(-1, bytes(PAGE)),
    "page_of_noise": at(-2, b"\xa5" * PAGE),
    "index_that_disagrees": swapped_index_entries,
    "table_missing": statement("DROP TABLE transitions"),
    "meta_table_missing": statement("DROP TABLE meta"),
    "column_missing": statement("ALTER TABLE job DROP COLUMN outputs"),
    "spool_id_missing": statement("DELETE FROM meta WHERE key = 'spool_id'"),
    "state_unknown": statement("UPDATE job SET state = 'dreaming' WHERE seq = 1"),
    "options_torn": statement("""UPDATE job SET options = '{"engine": ' WHERE seq = 1"""),
    "outputs_not_json": statement("UPDATE job SET outputs = 'none' WHERE seq = 1"),
    "number_that_is_none": statement("UPDATE job SET attempts = 'many' WHERE seq = 1"),
    "text_that_is_no_utf8": statement("UPDATE job SET message = CAST(x'fffe' AS TEXT) WHERE seq = 1"),
    "time_out_of_this_world": statement("UPDATE job SET created_at = 1e300 WHERE seq = 1"),
    "notice_undecodable": statement("UPDATE notice SET status = 'flying'"),
    "wal_of_noise": beside("-wal", b"\xa5" * 5000),
    "wal_with_a_wrong_checksum": beside(
        "-wal", struct.pack(">8I", 0x377F0682, 3007000, PAGE, 0, 1, 2, 3, 4) + b"x" * 5000
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_ledger_is_set_aside_and_made_anew_from_the_folders(
    lived: Path, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    before = look(lived)
    damage(ledger_of(lived))

    with open_rig(lived, FakeEngine()) as rig:
        assert known(rig) == before
    kept = [path for path in ledger_of(lived).parent.iterdir() if KEPT.fullmatch(path.name)]
    assert len(kept) == 1
    told = [
        record.message for record in caplog.records if record.levelno == logging.WARNING and "kept as" in record.message
    ]
    assert len(told) == 1
    assert str(kept[0]) in told[0]
    assert look(lived) == before  # and the next start finds nothing wrong
    with open_rig(lived, FakeEngine()):
        assert [path for path in ledger_of(lived).parent.iterdir() if KEPT.fullmatch(path.name)] == kept


@pytest.mark.parametrize("name", ["not_a_database", "cut_in_half", "wal_of_noise"])
def test_damaged_ledger_is_kept_byte_for_byte_with_what_lay_beside_it(lived: Path, name: str) -> None:
    path = ledger_of(lived)
    DAMAGES[name](path)
    before = {
        ending: Path(f"{path}{ending}").read_bytes() for ending in ("", "-wal") if Path(f"{path}{ending}").exists()
    }

    with open_rig(lived, FakeEngine()):
        pass
    (kept,) = (entry for entry in path.parent.iterdir() if KEPT.fullmatch(entry.name))
    assert {ending: Path(f"{kept}{ending}").read_bytes() for ending in before} == before


@pytest.mark.parametrize("ledger", ["missing", "empty"])
@pytest.mark.parametrize("beside_it", [(), ("-wal",), ("-shm",), ("-wal", "-shm")])
def test_ledger_that_is_missing_or_empty_is_made_anew_from_the_folders(
    lived: Path, ledger: str, beside_it: tuple[str, ...]
) -> None:
    before = look(lived)
    path = ledger_of(lived)
    path.unlink()
    if ledger == "empty":
        path.touch()
    for ending in beside_it:
        Path(f"{path}{ending}").write_bytes(b"\xa5" * 40_000)

    with open_rig(lived, FakeEngine()) as rig:
        assert known(rig) == before
    kept = sorted(entry.name.rpartition("Z")[2] for entry in path.parent.iterdir() if ".damaged-" in entry.name)
    assert kept == sorted(([""] if ledger == "empty" else []) + list(beside_it)) if beside_it else kept == []


def test_ledger_rebuilt_knows_the_order_of_the_queue(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        for number in range(20):
            rig.drop(f"{(number * 7) % 20}.mp3")
            rig.claim_all()
            rig.hand.move(2)
        before = [job.name for job in rig.house.ledger.jobs([State.PENDING])]
    ledger_of(tmp_path).unlink()

    with open_rig(tmp_path, FakeEngine()) as rig:
        assert [job.name for job in rig.house.ledger.jobs([State.PENDING])] == before


def test_work_goes_on_behind_the_checkpoint_after_the_ledger_was_rebuilt(lived: Path) -> None:
    ledger_of(lived).unlink()
    engine = FakeEngine({"half.mp3": [window(0, "hello"), window(1, "world")]})

    with open_rig(lived, engine) as rig:
        rig.hand.move(3600)
        rig.work()
        assert {job.state for job in rig.house.ledger.jobs()} == {State.COMPLETED, State.FAILED, State.CANCELLED}
    assert {Path(request.path).name: request.first_index for request in engine.requests} == {
        "half.mp3": 1,
        "wait.mp3": 0,
    }
    assert (lived / "outbox/half.txt").read_text().split() == ["hello", "world"]


def test_empty_or_torn_wal_is_no_damage(lived: Path) -> None:
    before = look(lived)
    for content in (b"", b"\x37\x7f", bytes(5000)):
        Path(f"{ledger_of(lived)}-wal").write_bytes(content)
        with open_rig(lived, FakeEngine()) as rig:
            assert known(rig) == before
    assert not [entry for entry in ledger_of(lived).parent.iterdir() if "damaged" in entry.name]


def test_wal_with_a_torn_end_loses_only_what_was_torn(tmp_path: Path) -> None:
    with open_rig(tmp_path / "spool", FakeEngine()) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        crashed = tmp_path / "crashed"
        shutil.copytree(rig.house.spool.root, crashed, copy_function=shutil.copy)
        job_id = rig.only_job().job_id
    wal = Path(f"{ledger_of(crashed)}-wal")
    os.truncate(wal, wal.stat().st_size - 1000)

    with open_rig(crashed, FakeEngine()) as rig:
        assert rig.only_job().job_id == job_id
        assert rig.only_job().state is State.PENDING
    assert not [entry for entry in ledger_of(crashed).parent.iterdir() if "damaged" in entry.name]


# --- who asks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["options_torn", "outputs_not_json", "text_that_is_no_utf8", "time_out_of_this_world"])
def test_row_that_makes_no_sense_is_told_as_damage_and_crashes_nobody(lived: Path, name: str) -> None:
    DAMAGES[name](ledger_of(lived))

    with visit_house(settings_for(lived)) as house, pytest.raises(LedgerError, match="start the service") as caught:
        house.ledger.jobs()
    assert caught.value.reason == "ledger_damaged"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["not_a_database", "meta_table_missing"])
def test_visitor_tells_of_damage_and_leaves_everything_as_it_is(lived: Path, name: str) -> None:
    DAMAGES[name](ledger_of(lived))
    before = contents(ledger_of(lived).parent)

    for asking in (True, False):
        with pytest.raises(LedgerError) as caught, visit_house(settings_for(lived), asking=asking):
            pass
        assert caught.value.reason == "ledger_damaged"
    assert contents(ledger_of(lived).parent) == before


# --- somebody else's --------------------------------------------------------------------------


def of_another_program(path: Path) -> None:
    path.unlink()
    statement("CREATE TABLE photos (name)")(path)
    statement(f"PRAGMA application_id = {APPLICATION_ID + 1}")(path)


def of_another_program_and_damaged(path: Path) -> None:
    of_another_program(path)
    cut(lambda size: size - 100)(path)


def of_a_program_that_does_not_say_its_name(path: Path) -> None:
    path.unlink()
    statement("CREATE TABLE photos (name)")(path)


FOREIGN = {
    "another_program": of_another_program,
    "another_program_damaged": of_another_program_and_damaged,
    "program_without_a_name": of_a_program_that_does_not_say_its_name,
    "another_spool": statement("UPDATE meta SET value = 'other' WHERE key = 'spool_id'"),
    "newer_version": statement(f"PRAGMA user_version = {SCHEMA_VERSION + 1}"),
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_foreign_ledger_is_refused_and_left_alone_until_a_rebuild_is_asked_for(lived: Path, make: Damage) -> None:
    before = look(lived)
    path = ledger_of(lived)
    make(path)
    content = path.read_bytes()

    with pytest.raises(LedgerError, match="cesar-watch ledger rebuild") as caught, open_house(settings_for(lived)):
        pass
    assert caught.value.exit_code == 3
    assert path.read_bytes() == content
    assert not [entry for entry in path.parent.iterdir() if "damaged" in entry.name]
    with open_house(settings_for(lived), anew=True):
        pass
    (kept,) = (entry for entry in path.parent.iterdir() if ".replaced-" in entry.name)
    assert kept.read_bytes() == content
    with open_rig(lived, FakeEngine()) as rig:
        assert known(rig) == before


def test_files_of_another_program_that_died_are_not_opened_at_all(lived: Path) -> None:
    """SQLite itself would write the -wal back, and take it away."""
    path = ledger_of(lived)
    elsewhere = lived.parent / "photos.db"
    with closing(sqlite3.connect(elsewhere)) as plain:
        plain.execute(f"PRAGMA application_id = {APPLICATION_ID + 1}")
        plain.execute("PRAGMA journal_mode = wal")
        plain.execute("CREATE TABLE photos (name)")
        plain.commit()
        for ending in ("", "-wal", "-shm"):
            shutil.copy(f"{elsewhere}{ending}", f"{path}{ending}")
    before = contents(path.parent)

    with pytest.raises(LedgerError), open_house(settings_for(lived)):
        pass
    with pytest.raises(LedgerError), visit_house(settings_for(lived), asking=True):
        pass
    after = contents(path.parent)
    assert {entry: after.get(entry) for entry in before} == before


def test_ledger_of_an_older_version_gets_what_it_lacks_and_keeps_what_it_has(lived: Path) -> None:
    before = look(lived)
    for column in ("interruptions", "outputs_sha256", "duplicate_of"):
        statement(f"ALTER TABLE job DROP COLUMN {column}")(ledger_of(lived))
    statement("PRAGMA user_version = 1")(ledger_of(lived))

    for asking in (True, False):
        with (
            pytest.raises(LedgerError, match="start the service once"),
            visit_house(settings_for(lived), asking=asking),
        ):
            pass
    with open_rig(lived, FakeEngine()) as rig:
        after = {job.job_id: job for job in rig.house.ledger.jobs()}
        assert {job.interruptions for job in after.values()} == {0}
        assert {job_id: (job.state, job.sha256, job.outputs) for job_id, job in after.items()} == {
            job_id: known[:3] for job_id, known in before.items()
        }
        history = [row["event"] for row in rig.house.ledger.history(next(iter(after.values())))]
        assert "claimed" in history
    with closing(sqlite3.connect(ledger_of(lived))) as plain:
        assert plain.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
