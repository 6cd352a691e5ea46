"""The ledger's file: its pragmas, whose it is, many writers at once, and what a kill leaves."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.database import WAL_LIMIT_BYTES, connect
from cesar_watch.core.errors import Kind, LedgerError
from cesar_watch.core.job import Event, FileIdentity, Job, State
from cesar_watch.core.ledger import Intent, Ledger
from cesar_watch.core.tables import APPLICATION_ID, SCHEMA_VERSION
from tests.builders import NOW, lease_next, make_job

REPOSITORY = Path(__file__).parents[2]
WRITE = """
import sys
from pathlib import Path
from cesar_watch.core.ledger import Ledger
from tests.integration.test_core_database import change_back_and_forth
ledger = Ledger(Path(sys.argv[1]), "spool")
for number in change_back_and_forth(ledger, ledger.get(sys.argv[2]), int(sys.argv[3])):
    print(number, flush=True)
"""


def add(ledger: Ledger, job_id: str) -> Job:
    intent = Intent(job_id, b"talk.mp3", b"", b"inbox/talk.mp3", b"x", FileIdentity(1, 2, 3, 4), {})
    return ledger.apply(ledger.log_intent(intent, [(job_id, job_id)], NOW), Event.CLAIMED, NOW)


def change_back_and_forth(ledger: Ledger, job: Job, times: int) -> Any:
    """Lease and release a job again and again, one commit each; yield after every commit."""
    for number in range(times):
        event = Event.LEASED if job.state is State.PENDING else Event.RELEASED
        job = ledger.apply(job, event, NOW, lease="lease" if event is Event.LEASED else None)
        yield number


def writer(path: Path, job: Job, times: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITE, str(path), job.job_id, str(times)]
    environ = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=environ)


def in_threads(work: Callable[[int], None], number: int) -> list[BaseException]:
    """Run `work` in several threads at once; return what they raised."""
    faults: list[BaseException] = []
    barrier = threading.Barrier(number)

    def guarded(index: int) -> None:
        try:
            barrier.wait(10)
            work(index)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=guarded, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert not any(thread.is_alive() for thread in threads)
    return faults


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def make(path: Path) -> None:
    Ledger(path, "spool", owner=True).close()


# --- promises of the connection -------------------------------------------------------------


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("synchronous", 2), ("journal_mode", "wal"), ("foreign_keys", 1), ("busy_timeout", 30_000)],
)
def test_every_connection_has_the_promised_pragma(path: Path, pragma: str, value: object) -> None:
    database = connect(path)
    seen: list[object] = []

    def ask() -> None:
        seen.append(database.execute_sql(f"PRAGMA {pragma}").fetchone()[0])
        database.close()

    ask()
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(10)
    assert seen == [value, value]


def test_sqlite_is_one_that_does_not_corrupt_what_several_write(path: Path) -> None:
    database = connect(path)
    version = database.execute_sql("SELECT sqlite_version()").fetchone()[0]
    database.close()

    assert tuple(int(part) for part in version.split(".")) >= (3, 51, 3)


def test_file_says_whose_it_is(path: Path) -> None:
    make(path)
    with closing(sqlite3.connect(path)) as plain:
        assert plain.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        assert plain.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION


# --- whose ledger it is -----------------------------------------------------------------------


def test_ledger_counts_as_new_until_it_was_told_what_the_folders_hold(path: Path) -> None:
    for told, expected in ((False, True), (True, True), (False, False)):
        ledger = Ledger(path, "spool", owner=True)
        assert ledger.rebuild.is_needed is expected
        if told:
            ledger.rebuild.restore([], NOW)
        ledger.close()


def test_wal_is_small_again_after_a_large_transaction_and_gone_after_closing(path: Path) -> None:
    ledger = Ledger(path, "spool", owner=True)
    jobs = [(make_job(seq=0, job_id=f"{number:016}", message="x" * 20_000), str(number)) for number in range(1000)]
    ledger.rebuild.restore(jobs, NOW)
    wal = Path(f"{path}-wal")
    assert wal.stat().st_size > WAL_LIMIT_BYTES
    for _ in change_back_and_forth(ledger, add(ledger, "a" * 16), 3):
        pass
    assert wal.stat().st_size <= WAL_LIMIT_BYTES
    ledger.close()
    assert not wal.exists()


def test_owner_closing_writes_its_commits_back_though_a_visitor_stays(path: Path) -> None:
    ledger = Ledger(path, "spool", owner=True)
    visitor = Ledger(path, "spool", reading=True)
    add(ledger, "a" * 16)
    ledger.close()
    content = path.read_bytes()
    visitor.close()
    for ending in ("-wal", "-shm"):
        Path(f"{path}{ending}").unlink(missing_ok=True)
    assert path.read_bytes() == content
    alone = Ledger(path, "spool", reading=True)
    assert [job.job_id for job in alone.jobs()] == ["a" * 16]
    alone.close()


@pytest.mark.parametrize("content", [None, b""])
def test_ledger_that_is_missing_is_not_made_by_a_reader(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(LedgerError, match="cesar-watch run") as caught:
        Ledger(path, "spool")
    assert (caught.value.reason, caught.value.kind) == ("ledger_missing", Kind.SYSTEMIC)
    assert (path.read_bytes() if path.exists() else None) == content


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_ledger_of_another_program_is_refused_and_left_as_it_is(path: Path, journal: str) -> None:
    with closing(sqlite3.connect(path)) as plain:
        plain.execute(f"PRAGMA journal_mode = {journal}")
        plain.execute("CREATE TABLE photos (name)")
        plain.commit()
    before = path.read_bytes()

    for owner in (True, False):
        with pytest.raises(LedgerError, match="not a ledger") as caught:
            Ledger(path, "spool", owner=owner)
        assert caught.value.reason == "ledger_foreign"
    assert path.read_bytes() == before


def test_ledger_of_another_spool_is_refused(path: Path) -> None:
    make(path)
    before = path.read_bytes()

    with pytest.raises(LedgerError, match="another spool") as caught:
        Ledger(path, "other", owner=True)
    assert caught.value.reason == "ledger_foreign"
    assert path.read_bytes() == before


def test_ledger_of_a_newer_version_is_refused(path: Path) -> None:
    make(path)
    with closing(sqlite3.connect(path)) as plain:
        plain.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")

    with pytest.raises(LedgerError, match="newer version") as caught:
        Ledger(path, "spool", owner=True)
    assert caught.value.reason == "ledger_version"


@pytest.mark.parametrize("owner", [True, False])
def test_ledger_that_is_no_database_is_damaged(path: Path, owner: bool) -> None:
    path.write_bytes(b"not a database at all " * 400)

    with pytest.raises(LedgerError) as caught:
        Ledger(path, "spool", owner=owner)
    assert caught.value.reason == "ledger_damaged"


def test_ledger_with_a_torn_page_is_damaged(path: Path) -> None:
    ledger = Ledger(path, "spool", owner=True)
    for number in range(100):
        add(ledger, f"{number:016}")
    ledger.close()
    content = bytearray(path.read_bytes())
    for start in range(4096 * 8, len(content), 4096):
        content[start : start + 4000] = b"\xa5" * 4000
    path.write_bytes(content)

    with pytest.raises(LedgerError) as caught:
        Ledger(path, "spool", owner=True)
    assert caught.value.reason == "ledger_damaged"


def test_ledger_in_a_missing_folder_can_not_be_used(tmp_path: Path) -> None:
    with pytest.raises(LedgerError) as caught:
        Ledger(tmp_path / "absent" / "ledger.db", "spool", owner=True)
    assert caught.value.reason == "ledger_unusable"


# --- many writers -----------------------------------------------------------------------------


def test_threads_that_write_at_once_all_get_through(path: Path) -> None:
    ledger = Ledger(path, "spool", owner=True)
    jobs = [add(ledger, f"{number:016}") for number in range(4)]

    def work(index: int) -> None:
        assert len(list(change_back_and_forth(ledger, jobs[index], 50))) == 50
        ledger.close()

    assert in_threads(work, 4) == []
    assert [len(ledger.history(job)) for job in jobs] == [51] * 4
    ledger.close()


def test_processes_that_write_at_once_all_get_through(path: Path) -> None:
    ledger = Ledger(path, "spool", owner=True)
    mine, theirs = add(ledger, "a" * 16), add(ledger, "b" * 16)
    with writer(path, theirs, 100) as process:
        assert process.stdout
        process.stdout.readline()  # it has begun
        written = len(list(change_back_and_forth(ledger, mine, 100)))
        process.stdout.read()

    assert (written, process.returncode) == (100, 0)
    assert [len(ledger.history(job)) for job in (mine, theirs)] == [101, 101]
    ledger.close()


def test_workers_that_lease_at_once_get_each_job_once(path: Path) -> None:
    ledger = Ledger(path, "spool", owner=True)
    ids = {add(ledger, f"{number:016}").job_id for number in range(40)}
    got: list[str] = []

    def work(index: int) -> None:
        while job := lease_next(ledger, f"worker {index}", NOW):
            got.append(job.job_id)
        ledger.close()

    assert in_threads(work, 4) == []
    assert sorted(got) == sorted(ids)
    assert {job.attempts for job in ledger.jobs()} == {1}
    ledger.close()


def test_intents_that_want_one_base_at_once_get_one_each(path: Path) -> None:
    ledger = Ledger(path, "spool", owner=True)
    bases = [(f"talk-{number}", f"talk-{number}") for number in range(40)]

    def work(index: int) -> None:
        for number in range(10):
            intent = Intent(f"{index}-{number}", b"talk.mp3", b"", b"x", b"y", FileIdentity(1, 2, 3, 4), {})
            ledger.log_intent(intent, bases, NOW)
        ledger.close()

    assert in_threads(work, 4) == []
    assert {job.base for job in ledger.jobs([State.CLAIMING])} == {base for base, _ in bases}
    ledger.close()


# --- kills --------------------------------------------------------------------------------------


def test_ledger_whose_writer_was_killed_opens_again_with_every_commit(path: Path) -> None:
    ledger = Ledger(path, "spool", owner=True)
    job = add(ledger, "a" * 16)
    ledger.close()
    with writer(path, job, 100_000) as process:
        assert process.stdout
        for _ in range(60):
            told = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        told += len(process.stdout.read().splitlines())

    assert process.returncode == -signal.SIGKILL
    ledger = Ledger(path, "spool", owner=True)
    history = ledger.history(job)
    ledger.close()
    assert len(history) - 1 in (told + 1, told + 2)  # the last commit may not have been told of
    with closing(sqlite3.connect(path)) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_ledger_whose_maker_was_killed_before_its_first_commit_is_made_again(path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from cesar_watch.core.database import connect; "
        "connect(Path(sys.argv[1])).connect(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, cwd=REPOSITORY)
    assert path.stat().st_size > 0

    with pytest.raises(LedgerError) as caught:
        Ledger(path, "spool")
    assert caught.value.reason == "ledger_missing"
    ledger = Ledger(path, "spool", owner=True)
    assert ledger.rebuild.is_needed
    assert add(ledger, "a" * 16).state is State.PENDING
    ledger.close()


def test_ledger_without_space_says_so_and_keeps_what_it_has(path: Path) -> None:
    ledger = Ledger(path, "spool", owner=True)
    job = add(ledger, "a" * 16)
    ledger.close()
    with closing(sqlite3.connect(path)) as plain:
        pages = plain.execute("PRAGMA page_count").fetchone()[0]
    ledger = Ledger(path, "spool", owner=True)
    ledger._database.execute_sql(f"PRAGMA max_page_count = {pages}")  # SQLite's own full disk

    with pytest.raises(LedgerError) as caught:
        ledger.update(job, NOW, message="x" * 100_000)
    assert caught.value.kind is Kind.SYSTEMIC
    assert ledger.get(job.job_id) == job
    ledger.close()
