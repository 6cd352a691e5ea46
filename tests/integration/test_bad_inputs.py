"""Recordings that can't be transcribed, in the real service: each fails with its reason, a good one is done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import pytest

from cesar_watch.core.job import State
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.speech.engine_process import EngineProcess
from cesar_watch.speech.models import require_model
from cesar_watch.speech.protocol import Setup
from tests.bombs import lying_wav, silent_flac, silent_opus
from tests.media import Track, tones, write_media
from tests.processes import command, drop, expected_words, sidecar, word_error_rate, words
from tests.service_builders import open_rig
from tests.soak.soak import REASONS, Soak
from tests.sounds import silence, voice, write_wav

LIMITS = {
    "CESAR_WATCH_SPOOL__QUIET_S": "0.3",
    "CESAR_WATCH_SPOOL__SHORT_GRACE_S": "0.5",
    "CESAR_WATCH_ENGINE__MAX_DURATION_S": "60",
}
FUZZED = 12


def _empty(path: Path) -> None:
    with av.open(str(path), "w") as container:
        container.add_stream("aac" if path.suffix == ".mp4" else "pcm_s16le", rate=16_000, layout="mono")
        container.start_encoding()


def _halved(path: Path) -> None:
    write_wav(path, voice(4))
    path.write_bytes(path.read_bytes()[:64_000])


def _three_tracks(path: Path) -> None:
    write_media(path, [Track(tones(hz), "flac") for hz in (200, 300, 400)])
    path.with_name(f"{path.name}.toml").write_text("audio_track = 4\n")


def _eight_channels(path: Path) -> None:
    write_media(path, [Track(tones(*range(200, 1000, 100), seconds=1), "pcm_s32le", 192_000, "7.1")])


@dataclass(frozen=True)
class Bad:
    """How it is made, and the reason that it fails for; none where it only looks bad."""

    make: Callable[[Path], object]
    reason: str | None


BAD = {
    "text.mp3": Bad(lambda path: path.write_text("Dear diary, this is no recording.\n" * 20), "not_media"),
    "header-only.wav": Bad(_empty, "nothing_decoded"),
    "header-only.mp4": Bad(_empty, "no_audio"),
    "no-sound.mp4": Bad(lambda path: write_media(path, [], picture="mpeg4"), "no_audio"),
    "no-sound.mkv": Bad(lambda path: write_media(path, [], picture="mpeg4"), "no_audio"),
    "half.wav": Bad(_halved, "truncated"),
    "lying.wav": Bad(lying_wav, "truncated"),
    "days.flac": Bad(lambda path: silent_flac(path, 20 * 86_400), "too_long"),
    "hours.opus": Bad(lambda path: silent_opus(path, 7_200), "too_long"),
    "long.wav": Bad(lambda path: write_wav(path, silence(61)), "too_long"),
    "slow.wav": Bad(lambda path: write_wav(path, silence(1), rate=100), "unsupported_rate"),
    "three.mkv": Bad(_three_tracks, "no_such_track"),
    "eight.wav": Bad(_eight_channels, None),
}


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spool into which all of them, damaged ones and a good one were dropped, after its service has run out."""
    folder = tmp_path_factory.mktemp("bad")
    assert command("init", "spool", cwd=folder).returncode == 0
    spool = folder / "spool"
    made = folder / "made"
    made.mkdir()
    for name, bad in BAD.items():
        bad.make(made / name)
    soak = Soak(seed=3, keep=folder)
    for number in range(FUZZED):
        (made / f"fuzzed-{number}.wav").write_bytes(soak.input(number).content or b"\0")
    for path in sorted(made.iterdir(), key=lambda path: path.suffix != ".toml"):
        path.rename(spool / "inbox" / path.name)
    drop("numbers.wav", spool / "inbox")
    drained = command("drain", cwd=folder, **LIMITS)
    assert drained.returncode == 1, drained.stderr
    return spool


def reason_of(spool: Path, name: str) -> str | None:
    path = spool / "failed" / f"{name}.reason.txt"
    found = [line for line in path.read_text().splitlines() if line.startswith("reason: ")] if path.exists() else []
    return found[0].removeprefix("reason: ") if found else None


@pytest.mark.parametrize("name", BAD)
def test_bad_recording_ends_with_its_reason_beside_it(spool: Path, name: str) -> None:
    failed = BAD[name].reason is not None

    assert reason_of(spool, name) == BAD[name].reason
    assert (spool / ("failed" if failed else "archive") / name).exists()
    assert (spool / ("archive" if failed else "failed") / name).exists() is False


@pytest.mark.parametrize("number", range(FUZZED))
def test_damaged_recording_is_transcribed_or_fails_with_a_known_reason(spool: Path, number: int) -> None:
    name = f"fuzzed-{number}.wav"
    status = sidecar(spool, f"fuzzed-{number}")["status"]

    assert status in ("completed", "failed")
    assert (reason_of(spool, name) in REASONS | {"truncated"}) == (status == "failed")


def test_good_recording_among_bad_ones_is_transcribed(spool: Path) -> None:
    heard = words((spool / "outbox/numbers.txt").read_text(encoding="utf-8"))

    assert word_error_rate(heard, expected_words("numbers.wav")) <= 0.1
    assert (spool / "archive/numbers.wav").exists()


# A codec's crash can't be had on order: PyAV's place is taken, in the engine's process, by one that crashes.
CRASHING = """
import os, signal
import av
opened = av.open
def crash(file, *args, **options):
    if os.path.basename(file.name) == "crash.wav":
        os.kill(os.getpid(), signal.SIGSEGV)
    return opened(file, *args, **options)
av.open = crash
from cesar_watch.speech.engine_main import main
main()
"""


@pytest.fixture
def engine() -> Iterator[EngineProcess]:
    setup = Setup(model_path=str(require_model(EngineSettings())), threads=1)
    program = [sys.executable, "-c", CRASHING, setup.model_dump_json()]
    engine = EngineProcess(setup, command=program)
    yield engine
    engine.close()


def test_recording_that_crashes_its_codec_fails_and_the_next_one_is_done(tmp_path: Path, engine: EngineProcess) -> None:
    with open_rig(tmp_path / "spool", engine, retry={"max_attempts": 2, "backoff_s": 0}) as rig:
        rig.drop("crash.wav", write_wav(tmp_path / "a.wav", voice(1)).read_bytes())
        rig.drop("good.wav", write_wav(tmp_path / "b.wav", voice(2)).read_bytes())
        rig.claim_all()
        rig.work()
        ends = {
            job.display_name: (job.state, job.attempts, job.error and job.error.reason)
            for job in rig.house.ledger.jobs()
        }

    assert ends == {"crash.wav": (State.FAILED, 2, "poison"), "good.wav": (State.COMPLETED, 1, None)}
    assert "SIGSEGV" in (tmp_path / "spool/failed/crash.wav.reason.txt").read_text()
