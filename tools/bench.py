"""Benchmarks: what cesar-watch costs and gains, as ratios measured side by side in one run.

`make bench` runs all of them with the bundled model. Machines are shared and noisy: read the ratios, not
the seconds. Each measured side runs in a process of its own, so that peak memory is its own.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

import cesar_watch
from cesar_watch.core.config import Settings
from cesar_watch.core.durable import move, sync_file
from cesar_watch.core.errors import AlreadyRunning
from cesar_watch.core.humanize import duration, size
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.core.spool import create_spool
from cesar_watch.service.house import open_house
from cesar_watch.service.intake import Intake

RECORDING = Path(cesar_watch.__file__).parent / "assets" / "demo" / "recordings" / "meeting.m4a"
LONG_S = 600
CLAIMS = 300
LOOKS = 7
NOTES = """\
plain: faster-whisper's own WhisperModel.transcribe with VAD, in one call;
       a rename with the syncs that a durable move needs; a bare Python.
ratio: plain divided by ours for speech, so above 1 is better;
       ours divided by plain for the rest, so it tells what the promises cost."""


def main() -> None:
    """Run every benchmark and print one table."""
    if len(sys.argv) > 1:
        SIDES[sys.argv[1]](Path(sys.argv[2]))
        return
    out = Console()
    table = Table("what", "plain", "cesar-watch", "ratio", title=f"Measured on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(prefix="cesar-bench-") as folder:
        out.print(f"Making a recording of {duration(LONG_S)} ...")
        for row in [*_speech(Path(folder)), _claims(Path(folder)), *_status(Path(folder))]:
            table.add_row(*row)
    out.print(table)
    out.print(NOTES)


# --- speech -----------------------------------------------------------------------------------


def _speech(folder: Path) -> list[tuple[str, ...]]:
    recording = folder / "long.wav"
    _repeat(recording)
    whole, windows = (_side(name, recording) for name in ("whole", "windows"))
    rows: list[tuple[str, str, Callable[[float], str]]] = [
        (f"first text of {duration(LONG_S)}", "first_s", duration),
        (f"all text of {duration(LONG_S)}", "total_s", duration),
        ("peak memory", "peak_bytes", size),
    ]
    return [
        (what, show(whole[key]), show(windows[key]), f"{whole[key] / windows[key]:.1f} x") for what, key, show in rows
    ]


def _repeat(target: Path) -> None:
    """Join the bundled recording with itself until it is long, as 16 kHz WAV."""
    from faster_whisper import decode_audio  # noqa: PLC0415 - heavy, and only this benchmark needs it

    sound = (decode_audio(str(RECORDING)) * 32767).astype("<i2").tobytes()
    with wave.open(str(target), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(16_000)
        for _ in range(LONG_S * 32_000 // len(sound) + 1):
            stream.writeframes(sound)


def _side(name: str, path: Path) -> dict[str, float]:
    """Run one side in its own process; add the peak memory of that process and its children."""
    done = subprocess.run([sys.executable, __file__, name, str(path)], capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _whole(recording: Path) -> None:
    from faster_whisper import WhisperModel  # noqa: PLC0415 - heavy; the other side must not have it in memory

    from cesar_watch.speech.models import DEMO_DIR  # noqa: PLC0415

    began_s, first_s = time.monotonic(), None
    model = WhisperModel(str(DEMO_DIR), device="cpu", cpu_threads=os.cpu_count() or 1, local_files_only=True)
    segments, _ = model.transcribe(str(recording), vad_filter=True, word_timestamps=True)
    for _ in segments:
        first_s = first_s or time.monotonic() - began_s
    _tell(first_s, time.monotonic() - began_s)


def _windows(recording: Path) -> None:
    from cesar_watch.speech.engines import make_engine  # noqa: PLC0415
    from cesar_watch.speech.models import DEMO_DIR  # noqa: PLC0415
    from cesar_watch.speech.protocol import request_for  # noqa: PLC0415

    began_s, first_s = time.monotonic(), None
    engine = make_engine(EngineSettings(), DEMO_DIR)
    for event in engine.transcribe(request_for(recording, {}), poll=lambda: None):
        if event.type == "window" and event.window.segments:
            first_s = first_s or time.monotonic() - began_s
    total_s = time.monotonic() - began_s
    engine.close()
    _tell(first_s, total_s)


def _tell(first_s: float | None, total_s: float) -> None:
    peaks = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"first_s": first_s or total_s, "total_s": total_s, "peak_bytes": sum(peaks) * 1024}))


SIDES: dict[str, Callable[[Path], None]] = {"whole": _whole, "windows": _windows}


# --- the spool --------------------------------------------------------------------------------


def _claims(folder: Path) -> tuple[str, ...]:
    """Claim many recordings; beside it, move as many with the syncs that a durable move needs anyway."""
    plain, root = folder / "plain", folder / "spool"
    (plain / "to").mkdir(parents=True)
    create_spool(root)
    for number in range(CLAIMS):
        (plain / f"{number}.wav").write_bytes(b"sound")
        (root / "inbox" / f"{number}.wav").write_bytes(b"sound")
    began_s = time.monotonic()
    for number in range(CLAIMS):
        sync_file(plain / f"{number}.wav")
        move(plain / f"{number}.wav", plain / "to" / f"{number}.wav")
    plain_s = time.monotonic() - began_s
    settings = Settings(spool={"root": root, "watch_mode": "poll", "quiet_s": 0})
    with open_house(settings) as house:
        intake = Intake(house, wake=threading.Event())
        intake.turn(0.0)
        began_s = time.monotonic()
        intake.turn(1.0)
        ours_s = time.monotonic() - began_s
    each = [f"{seconds / CLAIMS * 1000:.1f} ms" for seconds in (plain_s, ours_s)]
    return (f"claiming one of {CLAIMS} recordings", *each, f"{ours_s / plain_s:.1f} x")


def _status(folder: Path) -> list[tuple[str, ...]]:
    """Ask for the status while nothing runs and while a recording is transcribed; start a second service beside it."""
    command = [sys.executable, "-m", "cesar_watch"]
    root = folder / "status"
    subprocess.run([*command, "init", str(root)], check=True, stdout=subprocess.DEVNULL)
    config = ["--config", str(root / "config.toml")]
    subprocess.run([*command, "drain", *config], check=True, capture_output=True)
    bare_s = _median_s([sys.executable, "-c", "pass"])
    idle_s = _median_s([*command, "status", *config])
    (folder / "long.wav").rename(root / "inbox" / "long.wav")
    service = subprocess.Popen([*command, "run", *config, "--set", "spool.quiet_s=0.2"], stderr=subprocess.DEVNULL)
    try:
        while not list((root / "processing").glob("*/*/.cesar-checkpoint.jsonl")):
            time.sleep(0.1)
        busy_s = _median_s([*command, "status", *config])
        second_s = _median_s([*command, "run", *config], exit_code=AlreadyRunning.exit_code)
    finally:
        service.kill()
        service.wait()
    return [
        (what, f"{bare_s * 1000:.0f} ms", f"{took_s * 1000:.0f} ms", f"{took_s / bare_s:.1f} x")
        for what, took_s in (
            ("`status`, service stopped", idle_s),
            ("`status`, while transcribing", busy_s),
            ("second `run`, refused", second_s),
        )
    ]


def _median_s(command: list[str], *, exit_code: int = 0) -> float:
    looks = []
    for _ in range(LOOKS):
        began_s = time.monotonic()
        done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        looks.append(time.monotonic() - began_s)
        if done.returncode != exit_code:
            raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr.decode()}")
    return sorted(looks)[LOOKS // 2]


if __name__ == "__main__":
    main()
