"""The ledger's files before SQLite touches them, and how they are set aside."""

from __future__ import annotations

import os
import shutil
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cesar_watch.core import ledger_file
from cesar_watch.core.ledger import Ledger
from cesar_watch.core.tables import APPLICATION_ID

NOW = datetime(2026, 11, 20, 16, 1, 2, tzinfo=UTC)
PAGE = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger whose owner was killed: all of it but the schema is in its -wal."""
    alive = tmp_path / "alive" / "ledger.db"
    alive.parent.mkdir()
    ledger = Ledger(alive, "spool", owner=True)
    ledger.prove(NOW)
    shutil.copytree(alive.parent, tmp_path / "killed")
    ledger.close()
    return tmp_path / "killed" / "ledger.db"


def test_files_of_a_killed_owner_are_whole(path: Path) -> None:
    assert ledger_file.has_content(path, "-wal")
    assert ledger_file.damage(path) is None
    assert ledger_file.application_id(path) == APPLICATION_ID


def test_missing_ledger_is_no_damage(tmp_path: Path) -> None:
    assert ledger_file.damage(tmp_path / "ledger.db") is None
    assert ledger_file.application_id(tmp_path / "ledger.db") is None


@pytest.mark.parametrize("flipped", range(32))
def test_wal_with_any_flipped_byte_in_its_header_is_garbage(path: Path, flipped: int) -> None:
    wal = Path(f"{path}-wal")
    content = bytearray(wal.read_bytes())
    content[flipped] ^= 0x40
    wal.write_bytes(content)

    assert ledger_file.damage(path) == "its -wal is garbage"


def test_wal_in_the_other_byte_order_is_whole(path: Path) -> None:
    wal = Path(f"{path}-wal")
    head = struct.pack(">6I", 0x377F0683, 3007000, PAGE, 0, 17, 99)
    first = second = 0
    for left, right in struct.iter_unpack(">II", head):
        first = (first + left + second) % 2**32
        second = (second + right + first) % 2**32
    wal.write_bytes(head + struct.pack(">II", first, second) + bytes(PAGE + 24))

    assert ledger_file.damage(path) is None


@pytest.mark.parametrize("keep", [0, 1, 31])
def test_wal_shorter_than_its_header_is_merely_torn(path: Path, keep: int) -> None:
    os.truncate(f"{path}-wal", keep)

    assert ledger_file.damage(path) is None


def test_ledger_shorter_than_its_header_says_may_have_the_rest_in_its_wal(path: Path) -> None:
    os.truncate(path, path.stat().st_size - PAGE)
    assert ledger_file.damage(path) is None
    os.truncate(f"{path}-wal", 0)
    assert ledger_file.damage(path) == "it is truncated"


@pytest.mark.parametrize("header", [b"SQLite format 3\0", b"x" * 5000])
def test_file_that_is_no_database_is_told(path: Path, header: bytes) -> None:
    path.write_bytes(header)

    assert ledger_file.damage(path) == "it is not a database"


# --- setting aside ------------------------------------------------------------------------------


def test_set_aside_renames_everything_under_one_time(path: Path) -> None:
    before = {entry.name: entry.read_bytes() for entry in path.parent.iterdir()}
    kept = ledger_file.set_aside(path, "damaged", NOW)

    assert kept == path.with_name("ledger.db.damaged-20261120T160102Z")
    after = {entry.name.replace(".damaged-20261120T160102Z", ""): entry.read_bytes() for entry in path.parent.iterdir()}
    assert after == before


def test_set_aside_twice_within_a_second_replaces_nothing(path: Path) -> None:
    kept = []
    for content in (b"one", b"two"):
        path.write_bytes(content)
        kept.append(ledger_file.set_aside(path, "damaged", NOW))

    assert [entry.read_bytes() for entry in kept if entry] == [b"one", b"two"]


def test_set_aside_where_nothing_is_says_so(tmp_path: Path) -> None:
    assert ledger_file.set_aside(tmp_path / "ledger.db", "damaged", NOW) is None


def test_set_aside_that_died_after_its_first_rename_is_found_and_finished(path: Path) -> None:
    """The -wal must not be taken for that of a new ledger, nor be lost."""
    content = Path(f"{path}-wal").read_bytes()
    path.rename(path.with_name("ledger.db.damaged-20261120T160101Z"))

    assert ledger_file.damage(path) == "its -wal and -shm lie there without it"
    kept = ledger_file.set_aside(path, "damaged", NOW)
    assert Path(f"{kept}-wal").read_bytes() == content
    assert ledger_file.damage(path) is None
