"""The sign of life on the share: held while its process lives, changing while there is work, read without touching."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cesar_watch.core.sign_of_life import NOTHING, SIGN, Life, SignOfLife, look

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

_BEAT_AND_DIE = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from cesar_watch.core.sign_of_life import SignOfLife
sign = SignOfLife(Path(sys.argv[1]))
sign.beat(datetime.now(UTC))
os._exit(9)
"""


def test_sign_of_an_instance_that_never_gave_one_tells_nothing(tmp_path: Path) -> None:
    assert look(tmp_path) == NOTHING
    assert look(tmp_path).life is Life.UNKNOWN


def test_sign_that_is_held_is_alive_and_names_its_host(tmp_path: Path) -> None:
    sign = SignOfLife(tmp_path)
    sign.beat(NOW)

    assert look(tmp_path).life is Life.ALIVE
    assert look(tmp_path).host == os.uname().nodename


def test_sign_changes_with_every_beat_and_only_then(tmp_path: Path) -> None:
    sign = SignOfLife(tmp_path)
    sign.beat(NOW)
    first = look(tmp_path)
    assert look(tmp_path) == first

    sign.beat(NOW + timedelta(seconds=20))
    assert look(tmp_path).token != first.token


def test_sign_of_a_process_that_died_under_this_kernel_is_dead_at_the_first_look(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _BEAT_AND_DIE, str(tmp_path)], check=False)

    assert look(tmp_path).life is Life.DEAD


def test_sign_of_another_machine_or_another_boot_that_is_not_held_proves_no_death(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _BEAT_AND_DIE, str(tmp_path)], check=False)
    (tmp_path / SIGN).write_text((tmp_path / SIGN).read_text().replace('"boot": "', '"boot": "other-'))

    assert look(tmp_path).life is Life.UNKNOWN


def test_sign_whose_lock_could_not_be_taken_proves_no_death(tmp_path: Path) -> None:
    """As on a share without locks; here somebody else has it."""
    holder, sign = SignOfLife(tmp_path), SignOfLife(tmp_path)
    holder.beat(NOW)
    sign.beat(NOW)
    holder.close()

    assert look(tmp_path).life is Life.UNKNOWN


def test_sign_that_came_through_another_mount_proves_no_death(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _BEAT_AND_DIE, str(tmp_path)], check=False)
    device = os.stat(tmp_path / SIGN).st_dev
    (tmp_path / SIGN).write_text((tmp_path / SIGN).read_text().replace(f'"device": {device}', '"device": 1'))

    assert look(tmp_path).life is Life.UNKNOWN


def test_sign_that_is_torn_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / SIGN).write_text('{"host": "na')

    assert look(tmp_path).life is Life.UNKNOWN
    assert look(tmp_path).host == ""


def test_sign_that_was_removed_comes_back_with_the_next_beat_and_is_held(tmp_path: Path) -> None:
    sign = SignOfLife(tmp_path)
    sign.beat(NOW)
    (tmp_path / SIGN).unlink()

    sign.beat(NOW)
    assert look(tmp_path).life is Life.ALIVE


def test_instance_at_rest_leaves_no_sign(tmp_path: Path) -> None:
    sign = SignOfLife(tmp_path)
    sign.rest()
    sign.beat(NOW)
    sign.rest()

    assert os.listdir(tmp_path) == []
