"""Offline means offline: from a model's name to the transcript, in a process that ends if it asks for the network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cesar_watch.speech.models import DEMO_DIR
from tests.fake_hub import COMMIT, NEEDED
from tests.processes import RECORDINGS, expected_words, word_error_rate, words

PROGRAM = """
import os, sys

def nobody(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg"):
        os.write(2, f"{event} {arguments}".encode())
        os._exit(9)

sys.addaudithook(nobody)
from pathlib import Path
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.speech.confine import leave_network
from cesar_watch.speech.engines import make_engine
from cesar_watch.speech.models import require_model
from cesar_watch.speech.protocol import request_for

if sys.argv[3] == "alone":
    leave_network()  # what no hook sees, since it is written in C, finds nobody
settings = EngineSettings(model=sys.argv[1], isolation="thread", threads=1)
engine = make_engine(settings, require_model(settings))
for event in engine.transcribe(request_for(Path(sys.argv[2]), {}), poll=lambda: None):
    if event.type == "window":
        print(*(segment.text for segment in event.window.segments))
print(event.type)
"""
SPOKEN = "numbers"
CAN_UNSHARE = subprocess.run(["unshare", "--user", "--net", "true"], capture_output=True, check=False).returncode == 0


def transcribed(model: str, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    recording = RECORDINGS / f"{SPOKEN}.wav"
    environment = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "0"} | more
    command = [sys.executable, "-c", PROGRAM, model, str(recording), "alone" if CAN_UNSHARE else "among others"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def heard_all(done: subprocess.CompletedProcess[str]) -> bool:
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert last == "finished"
    return word_error_rate(words(" ".join(lines)), expected_words(f"{SPOKEN}.wav")) < 0.2


def lay_into_cache(home: Path) -> None:
    """Lay the bundled model where the hub's client would have put the model tiny."""
    repository = home / "hub/models--Systran--faster-whisper-tiny"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(COMMIT)
    for name in NEEDED:
        (snapshot / name).symlink_to(DEMO_DIR / name)


@pytest.mark.parametrize("model", ["demo", str(DEMO_DIR), "tiny", "Systran/faster-whisper-tiny"])
def test_model_on_disk_is_found_loaded_and_used_without_the_network(model: str, tmp_path: Path) -> None:
    lay_into_cache(tmp_path)
    assert heard_all(transcribed(model, tmp_path))


def test_model_that_is_not_on_disk_reaches_for_the_network_and_is_seen(tmp_path: Path) -> None:
    """Without this the others would prove nothing."""
    reached = transcribed("tiny", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert reached.returncode == 9
    assert reached.stderr.startswith("socket.")
