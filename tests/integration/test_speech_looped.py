"""Long recordings that are made out of short ones."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from cesar_watch.core.errors import RecordingError
from cesar_watch.speech.looped import write_looped
from tests.sounds import voice, write_wav


def test_recording_is_repeated_up_to_the_length_asked_for(tmp_path: Path) -> None:
    source = write_wav(tmp_path / "voice.wav", voice(1.0))
    write_looped(source, 2.5, tmp_path / "long.wav")

    with wave.open(str(tmp_path / "long.wav")) as made:
        assert (made.getframerate(), made.getnchannels(), made.getnframes()) == (16000, 1, 40000)
        sound = made.readframes(40000)
    second = sound[: 2 * 16000]
    assert any(second)
    assert sound == second + second + second[: 2 * 8000]


def test_source_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "talk.mp3").write_bytes(b"no sound at all")
    with pytest.raises(RecordingError):
        write_looped(tmp_path / "talk.mp3", 1.0, tmp_path / "long.wav")
    assert not (tmp_path / "long.wav").exists()
