from __future__ import annotations

import contextlib
from typing import Any

import pytest

from cesar_watch.core.errors import RecordingError
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.speech.models import DEMO_DIR
from cesar_watch.speech.protocol import Setup
from cesar_watch.speech.recognizer import Recognizer


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(Setup(model_path=str(DEMO_DIR), threads=1))


@pytest.mark.parametrize(
    ("asked", "is_refused"),
    [
        ({}, False),
        ({"language": "en"}, False),
        ({"languages": ["cs", "en"]}, False),
        ({"language": "cs"}, True),
        ({"language": "cs", "languages": ["en"]}, True),
        ({"languages": ["cs", "de"]}, True),
    ],
)
def test_model_for_english_alone_refuses_other_languages(
    recognizer: Recognizer, asked: dict[str, Any], is_refused: bool
) -> None:
    refused = pytest.raises(RecordingError, match=r"English alone.*\"cs\".*engine\.model")
    with refused if is_refused else contextlib.nullcontext():
        recognizer.check(EngineSettings.model_validate(asked))
