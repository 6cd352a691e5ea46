"""An inbox of somebody else's, in real processes: with the real model, drained twice, looked at and deleted from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.service.sources import AHEAD
from tests.processes import command, drop


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder outside of a spool that takes copies from it; its name in the settings is relative to them."""
    assert command("init", "spool", cwd=tmp_path).returncode == 0
    with (tmp_path / "spool/config.toml").open("a") as settings:
        settings.write('\n[output]\nformats = ["txt"]\n')
    text = (tmp_path / "spool/config.toml").read_text()
    (tmp_path / "spool/config.toml").write_text(
        text.replace("[spool]", '[spool]\nclaim = "copy"\ninbox = "../library"', 1)
    )
    (tmp_path / "library").mkdir()
    return tmp_path / "library"


def _told(library: Path, *words: str) -> Any:
    done = command(*words, cwd=library.parent)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if "--json" in words else " ".join(done.stdout.split())


def test_drain_goes_through_more_than_is_copied_at_once_and_finds_nothing_the_second_time(library: Path) -> None:
    for number in range(AHEAD + 2):
        drop("numbers.wav", library, f"{number}.wav")
    before = sorted(library.iterdir())
    _told(library, "drain")
    status = _told(library, "status", "--json")
    assert (status["jobs"]["completed"], status["jobs"]["duplicate"]) == (1, AHEAD + 1)
    assert status["inbox"]["waiting"] == 0
    _told(library, "drain")
    assert len(_told(library, "jobs", "--json")["jobs"]) == AHEAD + 2
    assert sorted(library.iterdir()) == before
    _told(library, "verify")
    (job,) = _told(library, "jobs", "--status", "completed", "--json")["jobs"]
    asked = command("delete", job["job_id"], "--recording", "--yes", cwd=library.parent)
    assert asked.returncode == 0
    assert sorted(library.iterdir()) == before


def test_why_tells_of_a_source_before_and_after_it_was_taken(library: Path) -> None:
    drop("numbers.wav", library, "talk.wav")
    path = library / "talk.wav"
    (library / "talk.wav.toml").write_text("beam_size = 3")
    for asked in (str(path), "talk.wav"):
        answer = _told(library, "why", "--json", asked)
        assert answer["verdict"] == "waiting"
        assert answer["options"]["beam_size"] == {"value": 3, "from": "talk.wav.toml"}
    _told(library, "drain")
    for asked in (str(path), "talk.wav", str(library.parent / "spool/outbox/talk.txt")):
        answer = _told(library, "why", "--json", asked)
        assert (answer["verdict"], answer["reason"]) == ("job", "completed")
    path.rename(library / "moved.wav")
    _told(library, "drain")
    answer = _told(library, "why", "--json", str(library / "moved.wav"))
    assert (answer["verdict"], answer["reason"]) == ("ignored", "taken")
