"""A model that has to be fetched while the service runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cesar_watch.core.errors import ModelError
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.service import fetching
from cesar_watch.service.fetching import fetched

SETTINGS = EngineSettings(model="small")
Fetch = Callable[[EngineSettings], Path]


@pytest.fixture
def fetch_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fetch], None]:
    """Let nothing be on disk, and the hub be something else."""

    def fetch_by(fetch: Fetch) -> None:
        monkeypatch.setattr(fetching, "needs_fetching", lambda _: True)
        monkeypatch.setattr(fetching, "require_model", fetch)
        monkeypatch.setattr(fetching, "BEAT_S", 0.01)

    return fetch_by


def test_model_on_disk_is_not_fetched() -> None:
    assert fetched(EngineSettings(model="demo"), beat=pytest.fail, is_ending=lambda: False)


def test_worker_shows_life_until_the_model_is_there(fetch_by: Callable[[Fetch], None]) -> None:
    beats: list[None] = []
    has_beaten_twice = threading.Event()

    def beat() -> None:
        beats.append(None)
        if len(beats) == 2:
            has_beaten_twice.set()

    def fetch(_: EngineSettings) -> Path:
        assert has_beaten_twice.wait(20)
        return Path("/model")

    fetch_by(fetch)
    assert fetched(SETTINGS, beat=beat, is_ending=lambda: False)
    assert len(beats) >= 2


def test_stop_does_not_wait_for_the_model(fetch_by: Callable[[Fetch], None]) -> None:
    is_over = threading.Event()

    def fetch(_: EngineSettings) -> Path:
        is_over.wait(20)
        return Path("/model")

    fetch_by(fetch)
    beats: list[None] = []
    assert not fetched(SETTINGS, beat=lambda: beats.append(None), is_ending=lambda: len(beats) == 2)
    is_over.set()


def test_model_that_can_not_be_fetched_is_the_error_that_it_is(fetch_by: Callable[[Fetch], None]) -> None:
    def fetch(_: EngineSettings) -> Path:
        raise ModelError("It could not be fetched.", reason="model_unreachable")

    fetch_by(fetch)
    with pytest.raises(ModelError, match="could not be fetched"):
        fetched(SETTINGS, beat=lambda: None, is_ending=lambda: False)
