"""The engine process, confined: asked of the kernel while it runs, and of what it can still do."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cesar_watch.core.errors import AttemptError
from cesar_watch.speech.engine_process import EngineProcess
from cesar_watch.speech.models import DEMO_DIR
from cesar_watch.speech.protocol import Failed, Finished, Order, Setup, encode, request_for
from tests.sounds import silence, voice, write_wav

PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
OPTIONS = {"window_s": 8.0, "beam_size": 1, "word_timestamps": False}
LIMIT_BYTES = 2_000_000_000
NOBODY, GROUP = 65534, 54321
CAN_UNSHARE = subprocess.run(["unshare", "--user", "--net", "true"], capture_output=True, check=False).returncode == 0

needs_namespaces = pytest.mark.skipif(not CAN_UNSHARE, reason="the kernel makes no namespaces here")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav(tmp_path_factory.mktemp("recording") / "talk.wav", np.concatenate([voice(1), silence(0.5)]))


def running(recording: Path, **confinement: int) -> Iterator[Path]:
    """Yield the folder in /proc of an engine that has transcribed, so that all its threads are there."""
    engine = EngineProcess(Setup(model_path=str(DEMO_DIR), threads=1, **confinement))
    assert isinstance(list(engine.transcribe(request_for(recording, OPTIONS), poll=lambda: None))[-1], Finished)
    yield Path(f"/proc/{engine.pid}")
    engine.close()


@pytest.fixture(scope="module")
def plain(recording: Path) -> Iterator[Path]:
    yield from running(recording)


@pytest.fixture(scope="module")
def confined(recording: Path) -> Iterator[Path]:
    yield from running(recording, nice=3, io_idle=True, memory_limit_bytes=LIMIT_BYTES)


def threads(process: Path) -> list[int]:
    return [int(task.name) for task in (process / "task").iterdir()]


def io_classes(process: Path) -> set[str]:
    asked = [subprocess.check_output(["ionice", "-p", str(thread)], text=True) for thread in threads(process)]
    return {answer.strip() for answer in asked}


def interfaces(process: Path) -> list[str]:
    return [line.split(":")[0].strip() for line in (process / "net/dev").read_text().splitlines()[2:]]


@needs_namespaces
def test_engine_process_is_in_a_network_of_its_own_that_has_only_a_dead_loopback(plain: Path) -> None:
    assert os.readlink(plain / "ns/net") != os.readlink("/proc/self/ns/net")
    assert interfaces(plain) == ["lo"]


@needs_root
def test_engine_process_of_root_stays_in_roots_user_namespace(plain: Path) -> None:
    assert os.readlink(plain / "ns/user") == os.readlink("/proc/self/ns/user")


CONNECT = """
import socket, sys
from cesar_watch.speech.confine import confine
from cesar_watch.speech.protocol import Setup
if sys.argv[2] == "confined": assert confine(Setup(model_path="")) == []
print(socket.socket().connect_ex(("127.0.0.1", int(sys.argv[1]))))
"""


@needs_namespaces
def test_confined_process_reaches_nobody_not_even_this_machine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        told = [
            subprocess.check_output([sys.executable, "-c", CONNECT, port, how], text=True).strip()
            for how in ("free", "confined")
        ]
    assert told[0] == "0"
    assert told[1] != "0"


def test_engine_process_that_is_asked_for_nothing_has_the_services_priority_and_no_limit(plain: Path) -> None:
    assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads(plain)} == {os.nice(0)}
    assert io_classes(plain) == io_classes(Path("/proc/self"))
    assert resource.prlimit(int(plain.name), resource.RLIMIT_DATA) == resource.getrlimit(resource.RLIMIT_DATA)


def test_engine_process_stands_back_with_all_its_threads(confined: Path) -> None:
    assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads(confined)} == {min(19, os.nice(0) + 3)}


def test_engine_process_that_waits_for_an_idle_disk_does_so_with_all_its_threads(confined: Path) -> None:
    assert io_classes(confined) == {"idle"}


def test_engine_process_has_its_memory_limit_and_can_not_lift_it(confined: Path) -> None:
    assert resource.prlimit(int(confined.name), resource.RLIMIT_DATA) == (LIMIT_BYTES, LIMIT_BYTES)


def test_recording_that_needs_more_than_the_memory_limit_fails_its_attempt_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Libraries that take memory for each core would need more than the limit on a large machine.
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    long = write_wav(tmp_path / "long.wav", np.tile(voice(20), 30))
    engine = EngineProcess(Setup(model_path=str(DEMO_DIR), threads=1, memory_limit_bytes=300_000_000))
    with pytest.raises(AttemptError) as raised:
        for event in engine.transcribe(request_for(long, {"window_s": 600.0}), poll=lambda: None):
            if isinstance(event, Failed):
                raise event.error()
    engine.close()
    # Which of the libraries is refused memory first is chance, and some of them crash then.
    assert raised.value.reason in ("out_of_memory", "engine_crashed")
    assert "engine.window_s" in str(raised.value)


@pytest.fixture
def shared_dir() -> Iterator[Path]:
    """A folder that every user may go into, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="cesar-confine-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def engine_command(setup: Setup) -> list[str]:
    return [sys.executable, "-m", "cesar_watch.speech.engine_main", setup.model_dump_json()]


def transcribe(process: subprocess.Popen[bytes], recording: Path) -> None:
    """Send the request, and wait until the whole recording has been heard."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(encode(Order(number=1, message=request_for(recording, OPTIONS))))
    process.stdin.flush()
    line = b""
    while b'"finished"' not in line:
        line = process.stdout.readline()
        assert line, "the engine ended before its work"


AS_NOBODY = f"""
import os, sys
# Before the change of user: the interpreter may lie where nobody else may read.
import cesar_watch.speech.recognizer, cesar_watch.speech.scheduler
from cesar_watch.speech.engine_main import main
os.setgroups([{GROUP}])
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
main()
"""


@needs_root
@needs_namespaces
def test_engine_of_another_user_reads_what_only_its_group_may_read_and_has_neither_network_nor_rights(
    shared_dir: Path, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Path(shutil.copy(recording, shared_dir / "talk.wav"))
    os.chown(talk, 0, GROUP)
    talk.chmod(0o640)
    # Its threads, begun at the import, would be there before the change of user.
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    setup = Setup(model_path=str(DEMO_DIR), threads=1)
    command = [sys.executable, "-c", AS_NOBODY, setup.model_dump_json()]
    with subprocess.Popen(command, **PIPES) as process:
        transcribe(process, talk)
        proc = Path(f"/proc/{process.pid}")
        assert os.readlink(proc / "ns/net") != os.readlink("/proc/self/ns/net")
        assert "\nUid:\t65534\t65534\t65534\t65534\n" in (proc / "status").read_text()
        assert "\nCapEff:\t0000000000000000\n" in (proc / "status").read_text()
        assert process.communicate()[1] == b""


@needs_namespaces
def test_engine_that_the_kernel_leaves_its_network_goes_on_and_says_so_in_a_line(recording: Path) -> None:
    # In a user namespace that may hold no network namespace.
    refuse = 'echo 0 > /proc/sys/user/max_net_namespaces; exec "$@"'
    engine = engine_command(Setup(model_path=str(DEMO_DIR), threads=1))
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", refuse, "sh", *engine]
    with subprocess.Popen(command, **PIPES) as process:
        transcribe(process, recording)
        said = process.communicate()[1].decode().splitlines()
    assert len(said) == 1
    assert "can't be kept from the network" in said[0]
