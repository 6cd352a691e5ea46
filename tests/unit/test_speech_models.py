from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from cesar_watch.core.errors import ModelError
from cesar_watch.core.recording_settings import ComputeType, EngineSettings
from cesar_watch.speech.models import DEMO_DIR, SIZES, needs_fetching, require_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    return tmp_path


def test_model_in_a_folder_is_that_folder(folder: Path) -> None:
    settings = EngineSettings(model=str(folder), download="never")
    assert require_model(settings) == folder
    assert not needs_fetching(settings)


def test_model_demo_is_the_bundled_one() -> None:
    assert require_model(EngineSettings()) == DEMO_DIR


@pytest.mark.parametrize("name", ["model.bin", "config.json", "tokenizer.json"])
def test_model_folder_without_a_needed_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).unlink()
    settings = EngineSettings(model=str(folder))
    with pytest.raises(ModelError, match=name) as raised:
        require_model(settings)
    assert raised.value.reason == "model_incomplete"
    assert not needs_fetching(settings)


def test_model_folder_that_is_gone_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist") as raised:
        require_model(EngineSettings(model=str(tmp_path / "gone")))
    assert raised.value.reason == "model_missing"


@pytest.mark.parametrize("model", ["enormous", "no/such/thing", "not an id"])
def test_model_of_no_known_kind_is_missing(model: str) -> None:
    with pytest.raises(ModelError) as raised:
        require_model(EngineSettings(model=model))
    assert raised.value.reason == "model_missing"


def test_model_names_are_those_of_faster_whisper() -> None:
    from faster_whisper import utils

    assert SIZES == utils._MODELS


def test_compute_types_are_those_of_ctranslate2() -> None:
    from ctranslate2.specs import model_spec

    assert {*get_args(ComputeType)} == {"default", "auto", *model_spec.ACCEPTED_MODEL_TYPES}
