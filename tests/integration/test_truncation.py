"""Cut in half, and cut in half with zeros in place of the rest: what the probe leaves open, decoding notices.

And nothing whole is ever called short by either, whoever wrote it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cesar_watch.core.errors import RecordingError
from cesar_watch.core.job import State
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.intake.probe import Short
from cesar_watch.speech.audio import open_audio
from cesar_watch.speech.engines import make_engine
from cesar_watch.speech.models import require_model
from cesar_watch.speech.quality import missing_s
from tests.corpus import FORMATS, Format, Missing, build
from tests.service_builders import open_rig

UNREADABLE = {"pipe.w64", "pipe.aiff", "free-format.mp3"}
"""FFmpeg finds no sound in these, though they are whole."""

SILENCE = {one.name for one in FORMATS if one.name.endswith((".wav", ".aiff", ".aifc", ".w64", ".au", ".caf"))}
"""Zeros are silence in these, so that nothing is missing."""

NO_LENGTH = {one.name for one in FORMATS if one.half is not Short}
"""These tell their length nowhere."""

by_format = pytest.mark.parametrize("kind", FORMATS, ids=lambda one: one.name)


def made(kind: Format, tmp_path: Path) -> bytes:
    try:
        return build(kind, tmp_path)
    except Missing as fault:
        pytest.skip(str(fault))


def lost_s(path: Path, content: bytes) -> float:
    """The seconds that decoding finds to be missing."""
    path.write_bytes(content)
    with open_audio(path, max_duration_s=3600) as audio:
        assert sum(block.size for block in audio.blocks())
        return missing_s(audio.decoded_s, audio.declared_s)


@by_format
def test_whole_recording_of_any_program_lacks_nothing_after_decoding(tmp_path: Path, kind: Format) -> None:
    if kind.name in UNREADABLE:
        pytest.skip("FFmpeg can't decode it")
    assert lost_s(tmp_path / f"talk-{kind.name}", made(kind, tmp_path)) == 0


@by_format
def test_recording_whose_second_half_is_zeros_is_noticed_where_zeros_are_not_silence(
    tmp_path: Path, kind: Format
) -> None:
    if kind.filled is Short or kind.name in UNREADABLE | SILENCE | NO_LENGTH:
        pytest.skip("the probe has noticed it, or nobody could")
    whole = made(kind, tmp_path)
    half = whole[: len(whole) // 2]
    try:
        lost = lost_s(tmp_path / f"talk-{kind.name}", half + bytes(len(whole) - len(half)))
    except RecordingError as fault:
        assert fault.reason in ("not_media", "nothing_decoded")
    else:
        assert lost > 4


@pytest.mark.parametrize("name", ["xing.mp3", "index-first.m4a", "a.webm", "a.wma"])
def test_recording_that_only_decoding_finds_to_be_cut_fails_as_truncated(tmp_path: Path, name: str) -> None:
    kind = next(one for one in FORMATS if one.name == name)
    whole = build(kind, tmp_path)
    half = whole[: len(whole) // 2]
    settings = EngineSettings(model="demo", isolation="thread", threads=1)
    engine = make_engine(settings, require_model(settings))
    with open_rig(tmp_path / "spool", engine, engine={"model": "demo"}) as rig:
        rig.drop(f"cut-{name}", half + bytes(len(whole) - len(half)))
        rig.drop(f"whole-{name}", whole)
        rig.claim_all()
        rig.work()
        ends = {job.display_name: (job.state, job.error and job.error.reason) for job in rig.house.ledger.jobs()}
        assert ends == {f"cut-{name}": (State.FAILED, "truncated"), f"whole-{name}": (State.COMPLETED, None)}
