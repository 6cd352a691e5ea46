"""How long a name may be that lies beside a recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from cesar_watch.core.companions import name_limit


@pytest.mark.parametrize(
    ("told", "limit_bytes"),
    [(255, 255), (143, 143), (1530, 255), (-1, 255)],
    ids=["ext4", "ecryptfs", "fat", "unknown"],
)
def test_name_limit_is_what_the_filesystem_takes_but_never_more_than_255(told: int, limit_bytes: int) -> None:
    assert name_limit(Path("/spool"), lambda folder, which: told) == limit_bytes


def test_name_limit_of_a_folder_that_is_not_there_is_255(tmp_path: Path) -> None:
    assert name_limit(tmp_path) == name_limit(tmp_path / "gone") == 255
