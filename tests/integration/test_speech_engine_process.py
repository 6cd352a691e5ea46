"""The engine as a process: what happens to it, and what that does to others."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from cesar_watch.core.errors import AttemptError, CesarError, EngineLost, ModelError
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.speech.checkpoint import Checkpoint
from cesar_watch.speech.engine_process import EngineProcess
from cesar_watch.speech.models import require_model
from cesar_watch.speech.protocol import (
    Durable,
    Event,
    Failed,
    Finished,
    Loaded,
    Loading,
    Order,
    Report,
    Setup,
    Started,
    WindowDone,
    encode,
    request_for,
)
from cesar_watch.speech.transcribe import transcribe
from tests.processes import until
from tests.sounds import conversation, silence, voice, write_wav

OPTIONS = {"window_s": 8.0, "beam_size": 1, "word_timestamps": False}


class Interrupted(Exception):
    pass


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One short window: what happens to the engine does not depend on how much it has to hear."""
    return write_wav(tmp_path_factory.mktemp("recording") / "talk.wav", np.concatenate([voice(1), silence(0.5)]))


@pytest.fixture
def engine() -> Iterator[EngineProcess]:
    engine = EngineProcess(Setup(model_path=str(require_model(EngineSettings())), threads=1))
    yield engine
    engine.close()


@pytest.fixture
def scripted() -> Iterator[EngineProcess]:
    """An engine whose program is given by the test as Python text in `program`."""
    engine = EngineProcess(Setup(model_path=""), command=[sys.executable, "-c", PROGRAM])
    yield engine
    engine.close()


PROGRAM = """
import json, os, signal, sys
def say(number, **event): print(json.dumps({"number": number, "event": event}), flush=True)
say(0, type="loaded", device="cpu", compute_type="int8", load_s=0.1)
for line in sys.stdin:
    order = json.loads(line)
    number, message = order["number"], order["message"]
    if message["type"] == "drop": continue
    say(number, type="started", declared_s=None, expected_s=None)
    name = os.path.basename(message["path"])
    if name == "stubborn":
        for each in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(each, signal.SIG_IGN)
        os.close(0)
        say(number, type="started", declared_s=None, expected_s=None)
        while True: signal.pause()
    if name == "segfault": os.kill(os.getpid(), signal.SIGSEGV)
    if name == "memory": os.kill(os.getpid(), signal.SIGKILL)
    if name == "exit": raise SystemExit(3)
    if name == "gibberish": print("Traceback: no message at all", flush=True)
    if name == "gpu": say(number, type="failed", kind="transient", reason="cuda_failed", message="The GPU failed.")
    if name == "full": say(number, type="failed", kind="transient", reason="out_of_memory", message="Out of memory.")
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "words"),
    [("segfault", "SIGSEGV"), ("memory", "SIGKILL.*memory"), ("exit", "exit status 3"), ("gibberish", "no message")],
)
def test_engine_process_that_dies_fails_the_attempt_and_names_how(
    scripted: EngineProcess, name: str, words: str
) -> None:
    with pytest.raises(AttemptError, match=words) as raised:
        list(scripted.transcribe(request_for(Path(name), {}), poll=lambda: None))
    assert raised.value.reason == "engine_crashed"
    assert scripted.pid is None


def test_engine_process_that_does_not_let_go_is_killed(
    scripted: EngineProcess,
) -> None:
    pids: list[int] = []

    def poll() -> None:
        if pids:
            raise Interrupted

    events = scripted.transcribe(request_for(Path("stall"), {}), poll=poll, poll_every_s=0.1)
    assert [type(next(events)) for _ in range(2)] == [Loaded, Started]
    assert scripted.pid is not None
    pids.append(scripted.pid)
    with pytest.raises(Interrupted):
        next(events)
    assert not is_alive(pids[0])


def test_engine_process_that_ignores_its_end_is_killed(scripted: EngineProcess) -> None:
    events = scripted.transcribe(request_for(Path("stubborn"), {}), poll=lambda: None)
    next(events)
    next(events)
    next(events)  # by now it ignores every signal that can be ignored, and its standard input
    pid = scripted.pid
    assert pid is not None
    events.close()
    assert not is_alive(pid)


def test_engine_process_that_stalls_is_polled_on_time(scripted: EngineProcess) -> None:
    calls_s: list[float] = []

    def poll() -> None:
        calls_s.append(time.monotonic())
        if len(calls_s) == 6:
            raise Interrupted

    with pytest.raises(Interrupted):
        list(scripted.transcribe(request_for(Path("stall"), {}), poll=poll, poll_every_s=0.05))
    assert calls_s[-1] - calls_s[-3] < 1


def test_engine_process_that_cannot_be_started_blames_no_recording(tmp_path: Path) -> None:
    engine = EngineProcess(Setup(model_path=""), command=[str(tmp_path / "gone")])
    with pytest.raises(ModelError, match="can't be started"):
        list(engine.transcribe(request_for(Path("a"), {}), poll=lambda: None))


@pytest.mark.parametrize(("moment", "fault"), [(Loading, ModelError), (Started, AttemptError)])
def test_engine_process_killed_fails_the_attempt_once_the_recording_is_open_and_the_next_request_works(
    engine: EngineProcess, recording: Path, moment: type, fault: type[CesarError]
) -> None:
    request = request_for(recording, OPTIONS)
    with pytest.raises(fault, match="SIGKILL"):
        for event in engine.transcribe(request, poll=lambda: None):
            if isinstance(event, moment):
                assert engine.pid is not None
                os.kill(engine.pid, signal.SIGKILL)
    assert isinstance(list(engine.transcribe(request, poll=lambda: None))[-1], Finished)


def test_engine_process_killed_while_idle_is_replaced_without_a_word(engine: EngineProcess, recording: Path) -> None:
    request = request_for(recording, OPTIONS)
    list(engine.transcribe(request, poll=lambda: None))
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    until(lambda: engine.pid is None, "the death of the engine")
    assert isinstance(list(engine.transcribe(request, poll=lambda: None))[-1], Finished)


def test_engine_process_leaves_the_service_managers_signals_to_the_service(
    engine: EngineProcess, recording: Path
) -> None:
    events = engine.transcribe(request_for(recording, OPTIONS), poll=lambda: None)
    assert isinstance(next(events), Loading)
    assert engine.pid is not None
    pid = engine.pid
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(pid, ignored)
    assert isinstance(list(events)[-1], Finished)


def test_engine_process_without_its_model_raises_modelerror_and_ends(tmp_path: Path, recording: Path) -> None:
    engine = EngineProcess(Setup(model_path=str(tmp_path)))
    checkpoint = Checkpoint.open(tmp_path, "f")
    with pytest.raises(ModelError, match=r"engine\.model") as raised:
        transcribe(engine, recording, checkpoint, OPTIONS, on_progress=lambda _: None, poll=lambda: None)
    assert raised.value.reason == "model_unusable"
    assert engine.pid is None


def test_engine_process_is_offline_apart_from_the_terminal_and_first_to_go(
    engine: EngineProcess, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    list(engine.transcribe(request_for(recording, OPTIONS), poll=lambda: None))
    assert engine.pid is not None
    process = Path("/proc") / str(engine.pid)
    assert not [link for link in (process / "fd").iterdir() if os.readlink(link).startswith("socket:")]
    # onnxruntime's telemetry would have left its database there.
    assert not (tmp_path / "home").exists()
    assert os.getsid(engine.pid) != os.getsid(0)
    assert int((process / "oom_score_adj").read_text()) == 500


@pytest.mark.parametrize("busy", [False, True])
def test_engine_process_ends_by_itself_when_its_service_is_gone(tmp_path: Path, busy: bool) -> None:
    setup = Setup(model_path=str(require_model(EngineSettings())), threads=1)
    recording = write_wav(tmp_path / "long.wav", np.tile(voice(2), 15))
    command = [sys.executable, "-m", "cesar_watch.speech.engine_main", setup.model_dump_json()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        if busy:
            request = request_for(recording, {"window_s": 30.0, "beam_size": 20})
            process.stdin.write(encode(Order(number=1, message=request)))
            process.stdin.flush()
            assert b"started" in process.stdout.readline()
        process.stdin.close()
        assert process.wait(10) == 0
        # Nor did it finish its window first.
        assert process.stdout.read() == b""


def test_engine_process_whose_service_is_gone_does_not_go_on_loading_the_model() -> None:
    setup = Setup(model_path=str(require_model(EngineSettings())), threads=1)
    command = [sys.executable, "-m", "cesar_watch.speech.engine_main", setup.model_dump_json()]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert b'"loaded"' not in done.stdout


def test_engine_process_begins_no_more_windows_than_may_be_lost(tmp_path: Path) -> None:
    setup = Setup(model_path=str(require_model(EngineSettings())), workers=2)
    recording = write_wav(tmp_path / "long.wav", conversation(6))
    command = [sys.executable, "-m", "cesar_watch.speech.engine_main", setup.model_dump_json()]
    request = request_for(recording, {"window_s": 5.0, "beam_size": 1})
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(encode(Order(number=1, message=request)))
        done = [_next_window(process.stdout) for _ in range(2)]
        assert sorted(done) == [0, 1]
        assert select.select([process.stdout], [], [], 0.5)[0] == []
        process.stdin.write(encode(Order(number=1, message=Durable(index=1))))
        assert _next_window(process.stdout) == 2
        assert select.select([process.stdout], [], [], 0.5)[0] == []
        process.stdin.close()


def _next_window(reports: IO[bytes]) -> int:
    while True:
        event = Report.model_validate_json(reports.readline()).event
        if isinstance(event, WindowDone):
            return event.window.index


def in_thread(events: Generator[Event, None, None]) -> tuple[threading.Thread, list[Event | Exception]]:
    """Let another thread take the events; what was raised at their end is the last of them."""
    told: list[Event | Exception] = []

    def take() -> None:
        try:
            told.extend(events)
        except CesarError as fault:
            told.append(fault)

    thread = threading.Thread(target=take)
    thread.start()
    return thread, told


def test_engine_process_that_dies_over_one_of_several_recordings_blames_none(scripted: EngineProcess) -> None:
    started = threading.Event()
    stalling = scripted.transcribe(request_for(Path("stall"), {}), poll=lambda: None)
    assert [type(next(stalling)) for _ in range(2)] == [Loaded, Started]
    thread, told = in_thread(scripted.transcribe(request_for(Path("segfault"), {}), poll=started.set))
    thread.join()
    assert isinstance(told[-1], EngineLost)
    assert "SIGSEGV" in str(told[-1])
    assert "2 recordings" in str(told[-1])
    with pytest.raises(EngineLost) as raised:
        next(stalling)
    assert raised.value.reason == "engine_lost"


def test_engine_process_replaced_for_one_recording_hands_the_others_back_unsuspected(scripted: EngineProcess) -> None:
    stalling, other = (scripted.transcribe(request_for(Path("stall"), {}), poll=lambda: None) for _ in range(2))
    assert [type(next(stalling)) for _ in range(2)] == [Loaded, Started]
    while not isinstance(next(other), Started):
        pass
    stalling.close()
    with pytest.raises(EngineLost) as raised:
        next(other)
    assert raised.value.reason == "engine_replaced"


def test_engine_process_that_lets_go_of_a_recording_goes_on_with_the_others(
    engine: EngineProcess, recording: Path
) -> None:
    request = request_for(recording, OPTIONS)
    list(engine.transcribe(request, poll=lambda: None))
    pid = engine.pid
    dropped = engine.transcribe(request, poll=lambda: None)
    assert isinstance(next(dropped), Started)
    thread, told = in_thread(engine.transcribe(request, poll=lambda: None))
    dropped.close()
    thread.join()
    assert isinstance(told[-1], Finished)
    assert engine.pid == pid


@pytest.mark.parametrize(("device", "kind"), [("auto", EngineLost), ("cuda", AttemptError)])
def test_gpu_that_fails_is_given_up_for_the_cpu_only_where_the_settings_leave_it_open(
    device: str, kind: type[CesarError]
) -> None:
    engine = EngineProcess(Setup(model_path="", device=device), command=[sys.executable, "-c", PROGRAM])
    checked = [event for event in _until_raised(engine, "gpu", kind) if isinstance(event, Loaded)]
    assert [event.fallback for event in checked] == [None]
    events = engine.transcribe(request_for(Path("stall"), {}), poll=lambda: None)
    loaded = next(events)
    assert isinstance(loaded, Loaded)
    assert loaded.fallback == ("The GPU failed." if device == "auto" else None)
    events.close()


def test_gpu_that_fails_two_recordings_at_once_is_held_against_neither() -> None:
    engine = EngineProcess(Setup(model_path=""), command=[sys.executable, "-c", PROGRAM])
    both = [engine.transcribe(request_for(Path("gpu"), {}), poll=lambda: None) for _ in range(2)]
    assert [type(next(both[0])) for _ in range(2)] == [Loaded, Started]
    while not isinstance(next(both[1]), Started):
        pass
    for events in both:
        with pytest.raises(EngineLost) as raised:
            next(events)
        assert raised.value.reason == "engine_replaced"
    engine.close()


def test_memory_that_runs_out_is_held_against_a_recording_only_where_it_is_alone(scripted: EngineProcess) -> None:
    stalling = scripted.transcribe(request_for(Path("stall"), {}), poll=lambda: None)
    assert [type(next(stalling)) for _ in range(2)] == [Loaded, Started]
    with pytest.raises(EngineLost) as raised:
        list(scripted.transcribe(request_for(Path("full"), {}), poll=lambda: None))
    assert raised.value.reason == EngineLost.reason
    stalling.close()
    alone = list(scripted.transcribe(request_for(Path("full"), {}), poll=lambda: None))[-1]
    assert isinstance(alone, Failed)
    assert alone.reason == "out_of_memory"


def test_engine_process_that_ends_idle_leaves_alone_who_asks_in_that_moment() -> None:
    engine = EngineProcess(Setup(model_path=""), idle_unload_s=1.0, command=[sys.executable, "-c", PROGRAM])
    list(engine.transcribe(request_for(Path("full"), {}), poll=lambda: None))
    asked = engine.transcribe(request_for(Path("stall"), {}), poll=lambda: None)
    lock: Any = Released(engine._lock, lambda: next(asked))
    engine._lock = lock
    assert engine.unload_if_idle(time.monotonic() + 1.0)
    while not isinstance(next(asked), Started):
        pass
    asked.close()
    engine.close()


class Released(contextlib.AbstractContextManager[None]):
    """A lock; when it is released for the first time somebody else is there already."""

    def __init__(self, lock: AbstractContextManager[Any], then: Callable[[], object]) -> None:
        self._lock = lock
        self._then = [then]

    def __enter__(self) -> None:
        self._lock.__enter__()

    def __exit__(self, *how: Any) -> None:
        self._lock.__exit__(*how)
        if self._then:
            self._then.pop()()


def _until_raised(engine: EngineProcess, name: str, kind: type[CesarError]) -> list[Event]:
    told: list[Event] = []
    with pytest.raises(kind):
        for event in engine.transcribe(request_for(Path(name), {}), poll=lambda: None):
            if isinstance(event, Failed):
                raise event.error()
            told.append(event)
    return told


def test_service_modules_import_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "import cesar_watch.speech.engines, cesar_watch.speech.models, cesar_watch.speech.quality\n"
        "import cesar_watch.speech.checkpoint, cesar_watch.speech.transcribe\n"
        "heavy = {'av', 'faster_whisper', 'ctranslate2', 'onnxruntime', 'huggingface_hub', 'numpy', 'tokenizers'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
