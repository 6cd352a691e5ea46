"""Ballast: taken where there is room, given up on a full disk, taken again before work goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cesar_watch.core.ballast import BALLAST_BYTES, ROOM_BYTES, Ballast
from cesar_watch.core.errors import Kind, SpoolError
from tests.mounting import fill, tmpfs


def _path(folder: Path) -> Path:
    return folder / "ballast"


def test_ballast_is_taken_once_and_is_incompressible(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path)
    ballast.take()
    content = _path(tmp_path).read_bytes()
    ballast.take()
    assert len(content) == BALLAST_BYTES
    assert len(set(content)) == 256
    assert _path(tmp_path).read_bytes() == content


def test_half_ballast_of_a_killed_start_is_made_whole(tmp_path: Path) -> None:
    _path(tmp_path).write_bytes(b"half")
    Ballast(tmp_path).take()
    assert _path(tmp_path).stat().st_size == BALLAST_BYTES


def test_small_disk_goes_without_ballast_and_nothing_is_ever_missed(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", size_kib=4096) as disk:
        ballast = Ballast(disk)
        ballast.take()
        ballast.release()
        fill(disk)
        ballast.restore()
        assert not _path(disk).exists()


def test_ballast_without_its_folder_is_no_error(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "gone")
    ballast.take()
    ballast.release()
    ballast.restore()


def test_full_disk_has_room_for_a_ledger_when_the_ballast_is_released(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", size_kib=66 << 10) as disk:
        ballast = Ballast(disk)
        ballast.take()
        fill(disk)
        ballast.release()
        (disk / "ledger.db-wal").write_bytes(os.urandom(BALLAST_BYTES))


def test_released_ballast_is_refused_until_the_disk_has_room_for_it_and_for_work(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", size_kib=66 << 10) as disk:
        ballast = Ballast(disk)
        ballast.take()
        film = fill(disk)
        ballast.release()
        with pytest.raises(SpoolError) as caught:
            ballast.restore()
        assert (caught.value.reason, caught.value.kind) == ("disk_full", Kind.SYSTEMIC)
        assert not _path(disk).exists()
        os.truncate(film, film.stat().st_size - ROOM_BYTES)
        ballast.restore()
        assert _path(disk).stat().st_size == BALLAST_BYTES
