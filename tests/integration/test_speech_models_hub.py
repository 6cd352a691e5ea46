"""The hub, seen from a fresh interpreter: its client reads the environment when it is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.core.errors import ModelError
from cesar_watch.speech.models import require_model
for download in sys.argv[1:]:
    try:
        print(require_model(EngineSettings(model="tiny", download=download)))
    except ModelError as fault:
        print(fault.reason)
"""


def ask(home: Path, *downloads: str) -> list[str]:
    # Port 9 on this machine refuses: no test reaches for the real hub.
    environment = os.environ | {"HF_HOME": str(home), "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", PROGRAM, *downloads]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


def test_model_not_on_disk_and_not_to_be_had_is_told_apart(tmp_path: Path) -> None:
    assert ask(tmp_path, "never", "auto") == ["model_missing", "model_unreachable"]


def snapshot(home: Path, *names: str) -> Path:
    repository = home / "hub" / "models--Systran--faster-whisper-tiny"
    folder = repository / "snapshots" / "0123456789012345678901234567890123456789"
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(folder.name)
    for name in names:
        (folder / name).write_text("{}")
    return folder


def test_model_in_the_hub_cache_is_used_without_the_network(tmp_path: Path) -> None:
    folder = snapshot(tmp_path, "model.bin", "config.json", "tokenizer.json")
    assert ask(tmp_path, "auto") == [str(folder)]


def test_model_half_fetched_is_not_taken_for_the_model(tmp_path: Path) -> None:
    snapshot(tmp_path, "config.json", "tokenizer.json")
    assert ask(tmp_path, "never", "auto") == ["model_missing", "model_unreachable"]
