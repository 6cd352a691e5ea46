"""Several windows and several recordings at once, with the real engine and the bundled model."""

from __future__ import annotations

import json
import os
import re
import signal
import wave
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from cesar_watch.core.job import State
from cesar_watch.core.recording_settings import EngineSettings, Format
from cesar_watch.speech.engine_process import EngineProcess
from cesar_watch.speech.models import require_model
from cesar_watch.speech.protocol import Event, Setup, Transcribe, WindowDone
from tests.media import Track, tone, write_media
from tests.processes import (
    RECORDINGS,
    alive,
    checkpointed_windows,
    children,
    command,
    drop,
    expected_words,
    service,
    sidecar,
    until,
    word_error_rate,
    words,
)
from tests.running import running, scripted
from tests.service_builders import open_rig
from tests.sounds import Samples, silence, write_wav

QUICK = {"CESAR_WATCH_SPOOL__QUIET_S": "0.3", "CESAR_WATCH_ENGINE__WORKERS": "2", "CESAR_WATCH_ENGINE__THREADS": "1"}
SHORT_WINDOWS = {**QUICK, "CESAR_WATCH_ENGINE__WINDOW_S": "10"}
HEARD: dict[str, Any] = {"engine": {"window_s": 5.0, "beam_size": 1}, "output": {"formats": ["txt", "srt"]}}
IDLE_BYTES = 80_000_000
GRACE_S = 30.0


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A spool made by the command, in the folder `spool` below the working directory."""
    made = command("init", "spool", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    return tmp_path / "spool"


# --- resumed ----------------------------------------------------------------------------------------


def numbers() -> Samples:
    """Return the sound of the bundled recording `numbers.wav`."""
    with wave.open(str(RECORDINGS / "numbers.wav")) as stream:
        assert (stream.getframerate(), stream.getnchannels()) == (16_000, 1)
        frames = np.frombuffer(stream.readframes(stream.getnframes()), "<i2")
    return np.asarray(frames / 32768, np.float32)


class Killed(BaseException):
    """The service dies."""


class Mortal:
    """An engine whose service dies when these windows are durable; others that are done by then have not got there.

    Attributes:
        heard: The windows that were worked on, in the order in which they ended.
    """

    def __init__(self, engine: EngineProcess, durable: Iterable[int] = ()) -> None:
        self._engine = engine
        self._left = set(durable)
        self._dies = bool(self._left)
        self.heard: list[int] = []

    def transcribe(self, request: Transcribe, **asking: Any) -> Generator[Event, None, None]:
        for event in self._engine.transcribe(request, **asking):
            if isinstance(event, WindowDone):
                self.heard.append(event.window.index)
                if self._dies and event.window.index not in self._left:
                    continue
            yield event
            if isinstance(event, WindowDone) and self._dies:
                self._left.remove(event.window.index)
                if not self._left:
                    raise Killed

    def unload_if_idle(self, now_s: float) -> bool:
        return False

    def close(self) -> None:
        """It is the test's."""


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    engine = EngineProcess(Setup(model_path=str(require_model(EngineSettings())), workers=2, threads=1))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A recording of several windows."""
    return write_wav(tmp_path_factory.mktemp("talk") / "talk.wav", np.tile(numbers(), 2)).read_bytes()


@pytest.fixture(scope="module")
def undisturbed(engine: EngineProcess, talk: bytes, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, set[int]]:
    """The subtitles of that recording, and its windows."""
    root = tmp_path_factory.mktemp("undisturbed")
    mortal = Mortal(engine)
    with open_rig(root, mortal, **HEARD) as rig:
        rig.drop("talk.wav", talk)
        rig.claim_all()
        rig.work()
    assert len(mortal.heard) >= 4
    return (root / "outbox/talk.srt").read_bytes(), set(mortal.heard)


@pytest.mark.parametrize("durable", [{0}, {1}, {0, 2}, {1, 2}])
def test_service_that_died_between_windows_goes_on_with_those_that_are_left_and_hears_the_same(
    tmp_path: Path, engine: EngineProcess, talk: bytes, undisturbed: tuple[bytes, set[int]], durable: set[int]
) -> None:
    subtitles, windows = undisturbed
    with open_rig(tmp_path, Mortal(engine, durable), **HEARD) as rig:
        rig.drop("talk.wav", talk)
        rig.claim_all()
        with pytest.raises(Killed):
            rig.work()
        assert rig.only_job().state is State.PROCESSING
    with open_rig(tmp_path, second := Mortal(engine), **HEARD) as rig:
        rig.work()
        assert rig.only_job().state is State.COMPLETED
    assert set(second.heard) == windows - durable
    assert (tmp_path / "outbox/talk.srt").read_bytes() == subtitles


def test_killed_service_with_two_windows_in_flight_gives_the_transcript_that_an_undisturbed_one_gives(
    tmp_path: Path,
) -> None:
    for folder in ("killed", "undisturbed"):
        (tmp_path / folder).mkdir()
        assert command("init", "spool", cwd=tmp_path / folder).returncode == 0
        drop("meeting.m4a", tmp_path / folder / "spool/inbox")
    with service(tmp_path / "killed", **SHORT_WINDOWS) as process:
        until(lambda: checkpointed_windows(tmp_path / "killed/spool"), "the first window")
        process.kill()
    for folder in ("killed", "undisturbed"):
        assert command("drain", cwd=tmp_path / folder, **SHORT_WINDOWS).returncode == 0
    made = [(tmp_path / folder / "spool/outbox/meeting.srt").read_bytes() for folder in ("killed", "undisturbed")]
    assert made[0] == made[1]


# --- what is heard ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("names", "labels"), [({}, ("L", "R")), ({"channel_names": ["Anna", "Ben"]}, ("Anna", "Ben"))])
def test_call_with_a_speaker_on_each_channel_names_them_in_every_format(
    tmp_path: Path, engine: EngineProcess, names: dict[str, Any], labels: tuple[str, str]
) -> None:
    said = numbers()
    pause = silence(len(said) / 16_000)
    sound = np.stack([np.concatenate([said, pause]), np.concatenate([pause, said])])
    call = write_media(tmp_path / "call.flac", [Track(sound, "flac")])
    formats = list(get_args(Format))
    split: dict[str, Any] = {"engine": {"channels": "split", **names}, "output": {"formats": formats}}
    with open_rig(tmp_path / "spool", engine, **split) as rig:
        rig.drop("call.flac", call.read_bytes())
        rig.claim_all()
        rig.work()
        assert rig.only_job().state is State.COMPLETED
    outbox = tmp_path / "spool/outbox"
    for kind in formats:
        text = (outbox / f"call.{kind}").read_text(encoding="utf-8")
        one, other = (re.search(rf"\b{label}\b", text) for label in labels)
        assert one is not None, kind
        assert other is not None, kind
        assert one.start() < other.start(), kind
    segments = json.loads((outbox / "call.json").read_bytes())["segments"]
    for label in labels:
        heard = words(" ".join(segment["text"] for segment in segments if segment["speaker"] == label))
        assert word_error_rate(heard, expected_words("numbers.wav")) <= 0.1


def _noise(seconds: float) -> Samples:
    return np.asarray(np.random.default_rng(0).normal(0, 0.1, int(seconds * 16_000)), np.float32)


def _music(seconds: float) -> Samples:
    """Chords, one after the other, that fade."""
    chords = [(262, 330, 392), (220, 262, 330), (175, 220, 262), (196, 247, 294)]
    fade = np.exp(-2 * np.arange(16_000) / 16_000)
    bars = [sum((tone(hz, 1.0, 0.2) for hz in chord), start=silence(1)) * fade for chord in chords]
    return np.asarray(np.tile(np.concatenate(bars), int(seconds) // len(bars)), np.float32)


@pytest.mark.parametrize("sound", [silence(20), _noise(20), _music(20)], ids=["silence", "noise", "music"])
def test_recording_in_which_nobody_speaks_is_empty_and_nothing_is_invented(
    tmp_path: Path, engine: EngineProcess, sound: Samples
) -> None:
    with open_rig(tmp_path / "spool", engine, **HEARD) as rig:
        rig.drop("talk.wav", write_wav(tmp_path / "talk.wav", sound).read_bytes())
        rig.claim_all()
        rig.work()
        assert rig.sidecar()["status"] == "completed"
        assert rig.sidecar()["quality"]["verdict"] == "empty"
    assert (tmp_path / "spool/outbox/talk.txt").read_text().strip() == ""


# --- at rest and at the end -------------------------------------------------------------------------


def test_service_whose_engine_has_been_idle_holds_little_memory(spool: Path) -> None:
    with service(spool.parent, **QUICK, CESAR_WATCH_ENGINE__IDLE_UNLOAD_S="0.5") as process:
        drop("numbers.wav", spool / "inbox")
        until(lambda: children(process.pid), "the engine process")
        until(lambda: sidecar(spool, "numbers").get("status") == "completed", "the transcript")
        until(lambda: not children(process.pid), "the end of the engine process")
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (held,) = (int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
    assert held < IDLE_BYTES


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_stop_with_all_places_taken_is_graceful_and_hands_all_attempts_back(spool: Path, stop: signal.Signals) -> None:
    names = [f"meeting-{number}" for number in range(4)]
    settings = {"CESAR_WATCH_SPOOL__ON_DUPLICATE": "transcribe", "CESAR_WATCH_ENGINE__BEAM_SIZE": "20"}
    for name in names:
        drop("meeting.m4a", spool / "inbox", f"{name}.m4a")
    with service(spool.parent, **SHORT_WINDOWS, **settings) as process:
        (engine,) = until(lambda: children(process.pid), "the engine process")
        os.kill(engine, signal.SIGSTOP)
        until(lambda: all(sidecar(spool, name).get("status") == "processing" for name in names), "the work")
        os.kill(engine, signal.SIGCONT)
        until(lambda: checkpointed_windows(spool), "the first window")
        process.send_signal(stop)
        assert process.wait(GRACE_S) == 0
        assert not alive(engine)
    listed = json.loads(command("jobs", "--json", cwd=spool.parent).stdout)["jobs"]
    assert [(job["status"], job["attempts"]) for job in listed] == [("pending", 0)] * len(names)
    assert "Traceback" not in (spool.parent / "service.log").read_text()


def test_commands_tell_of_several_jobs_in_work_in_eighty_columns(tmp_path: Path) -> None:
    names = [f"long-{number} a name that is longer than any table has space for in a terminal.mp3" for number in "1234"]
    engine = scripted()
    config = {"CESAR_WATCH_SPOOL__ROOT": str(tmp_path)}
    with running(tmp_path, lambda _: engine, *names) as running_service:
        for name in names:
            running_service.until_done_s(name, 10)
        told = {
            asked: command(*asked.split(), cwd=tmp_path, **config)
            for asked in ("status", "jobs", "status --json", "jobs --json")
        }
        job = running_service.jobs()[names[0]]
        told["show"] = command("show", job.job_id[:6], cwd=tmp_path, **config)
    assert {done.returncode for done in told.values()} == {0}
    for asked in ("status", "jobs", "show"):
        assert max(map(len, told[asked].stdout.splitlines())) <= 80, asked
    for asked in ("status", "jobs"):
        assert all(f"long-{number}" in told[asked].stdout for number in "1234"), asked
    current = json.loads(told["status --json"].stdout)["current"]
    assert sorted(job["source"]["name"] for job in current) == names
    assert all(job["status"] == "processing" for job in json.loads(told["jobs --json"].stdout)["jobs"])
