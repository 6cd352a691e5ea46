"""Benchmarks of speech: the real service beside faster-whisper's own calls, on the same work.

    python -m tools.bench_speech                    what `make bench` runs, two minutes
    python -m tools.bench_speech --full             what is published: a recording of 24 hours, 200 clips: 40 minutes

The model has the shape of whisper-tiny and says the same in every 30 seconds (tools/bench_model.py), but for the word
error rate, which is the bundled model's. Options are the same on both sides, all cores are used, nothing is loaded at
the beginning; each side runs in processes of its own. Machines are shared and noisy: read the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio
from rich.console import Console
from rich.table import Table

import cesar_watch
from cesar_watch.core.humanize import duration, size
from cesar_watch.speech.models import DEMO_DIR
from tools import bench_model, bench_service

Sound = npt.NDArray[np.float32]

RECORDINGS = Path(cesar_watch.__file__).parent / "assets" / "demo" / "recordings"
RATE = 16_000
CORES = len(os.sched_getaffinity(0))
OPTIONS: dict[str, Any] = {"beam_size": 5, "condition_on_previous_text": False}
IDLE_S = 2


# --- recordings ---------------------------------------------------------------------------------


def meeting() -> Sound:
    """Return the bundled recording of nearly five minutes."""
    sound: Sound = decode_audio(str(RECORDINGS / "meeting.m4a"))
    return sound


def write_wav(path: Path, sound: Sound) -> Path:
    """Write 16-bit mono PCM."""
    with wave.open(str(path), "wb") as stream:
        stream.setparams((1, 2, RATE, 0, "NONE", ""))
        stream.writeframes((sound * 32767).astype("<i2").tobytes())
    return path


def long_recording(path: Path, seconds: float) -> Path:
    """Write an MP3 of so many seconds, the same speech over and over; its frames need no header."""
    sound = meeting()
    piece = path.with_suffix(".piece.mp3")
    with av.open(str(piece), "w", options={"write_xing": "0", "id3v2_version": "0"}) as container:
        stream = container.add_stream("libmp3lame", rate=RATE)
        for start in range(0, len(sound), RATE):
            frame = av.AudioFrame.from_ndarray(sound[None, start : start + RATE], format="fltp", layout="mono")
            frame.sample_rate = RATE
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    frames = piece.read_bytes()
    piece.unlink()
    size_bytes = round(seconds * len(frames) / (len(sound) / RATE))
    with path.open("wb") as target:
        while target.tell() < size_bytes:
            target.write(frames[: size_bytes - target.tell()])
    return path


def clips(folder: Path, number: int, seconds: Callable[[np.random.Generator], float]) -> list[Path]:
    """Write clips out of the meeting."""
    sound, chance = meeting(), np.random.default_rng(1)
    paths = []
    for index in range(number):
        length = int(seconds(chance) * RATE)
        start = int(chance.integers(0, len(sound) - length))
        paths.append(write_wav(folder / f"clip{index:03}.wav", sound[start : start + length]))
    return paths


def joined(folder: Path, minutes: float) -> tuple[Path, list[str]]:
    """Write the bundled recordings, held out in training, one behind the other; return the words spoken, too."""
    names = ["meeting.m4a", "numbers.wav", "letters.mp3", "shopping.ogg"]
    sounds = [decode_audio(str(RECORDINGS / name)) for name in names]
    texts = [words((RECORDINGS / name).with_suffix(".expected.txt").read_text()) for name in names]
    pause = np.zeros(RATE, np.float32)
    pieces: list[Sound] = []
    spoken: list[str] = []
    while sum(len(piece) for piece in pieces) < minutes * 60 * RATE:
        for sound, text in zip(sounds, texts, strict=True):
            pieces += [sound, pause]
            spoken += text
    return write_wav(folder / "joined.wav", np.concatenate(pieces)), spoken


def words(text: str) -> list[str]:
    """Return a text's words, without case and punctuation."""
    return re.findall(r"[a-z0-9']+", text.lower())


def word_error_rate(heard: Sequence[str], spoken: Sequence[str]) -> float:
    """Return the Levenshtein distance over words, divided by the words spoken."""
    numbers = {word: number for number, word in enumerate({*heard, *spoken})}
    row, told = np.arange(len(heard) + 1), np.array([numbers[word] for word in heard])
    for index, word in enumerate(spoken, 1):
        best = np.minimum(row[1:] + 1, row[:-1] + (told != numbers[word]))
        # A run of insertions costs one each: the least of all that lie before, in one sweep.
        best = np.concatenate([[index], best]) - np.arange(len(heard) + 1)
        row = np.minimum.accumulate(best) + np.arange(len(heard) + 1)
    return float(row[-1]) / len(spoken)


# --- the plain sides, each in a process of its own -------------------------------------------------


def plain(how: str, model: str, vad: bool, paths: Iterable[str]) -> dict[str, Any]:
    """Transcribe with faster-whisper alone and return the seconds, the text and where it is."""
    began_s = time.monotonic()
    whisper = WhisperModel(model, device="cpu", cpu_threads=CORES, local_files_only=True)
    options = OPTIONS | {"word_timestamps": False}
    texts, spans = [], []
    for path in paths:
        if how == "loop":
            segments, _ = whisper.transcribe(path, vad_filter=vad, **options)
        else:
            segments, _ = BatchedInferencePipeline(whisper).transcribe(path, batch_size=8, **options)
        for segment in segments:
            texts.append(segment.text)
            spans.append((segment.start, segment.end))
    return {"wall_s": time.monotonic() - began_s, "text": " ".join(texts), "spans": spans}


def aside(how: str, model: Path, paths: Sequence[Path], *, vad: bool = True) -> dict[str, Any]:
    """Run a plain side in a process of its own."""
    asked = json.dumps([how, str(model), vad, [str(path) for path in paths]])
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench_speech", "--side", asked], check=True, capture_output=True, text=True
    )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


# --- figures ------------------------------------------------------------------------------------------


class Bench:
    """The figures, one method each; every one returns rows of the table: what, plain, ours, ratio, wanted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.model = folder / "tiny"
        bench_model.make(bench_model.SIZES["tiny"], self.model)

    def _new(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder

    def serve(
        self, name: str, recordings: Sequence[Path], *, until_idle: bool = False, **engine: object
    ) -> bench_service.Run:
        """Let the service transcribe recordings with the benchmark model."""
        settings = {"engine.model": str(self.model), "engine.word_timestamps": "false", "engine.download": "never"}
        settings |= {f"engine.{key}": str(value) for key, value in engine.items()}
        return bench_service.run(self._folder / name, recordings, settings, until_idle=until_idle)

    def mixed_folder(self, minutes: float, number: int) -> list[Row]:
        """One long recording and many clips of 2 to 10 s."""
        folder = self._new("mixed")
        recordings = [long_recording(folder / "long.mp3", minutes * 60)]
        recordings += clips(folder, number, lambda chance: chance.uniform(2, 10))
        loop, bare = (aside("loop", self.model, recordings, vad=vad)["wall_s"] for vad in (True, False))
        ours = self.serve("mixed-spool", recordings).wall_s
        what = f"{minutes:.0f} min and {number} clips"
        return [
            (f"{what}: loop with VAD", duration(loop), duration(ours), f"{loop / ours:.2f} x", "1.9 x"),
            (f"{what}: loop without", duration(bare), duration(ours), f"{bare / ours:.2f} x", "1.9 x"),
        ]

    def batches(self, minutes: float) -> list[Row]:
        """The long recording against faster-whisper's batched pipeline, and whether speech is lost."""
        recording = long_recording(self._new("batches") / "long.mp3", minutes * 60)
        plain = aside("batched", self.model, [recording])["wall_s"]
        rows: list[Row] = []
        for batch_size in (1, 4):
            ours = self.serve(f"batches-{batch_size}", [recording], batch_size=batch_size)
            spans = [
                span for span in ours.sidecars["long"]["quality"]["spans"] if span["reason"] == "speech_without_text"
            ]
            what = f"{minutes:.0f} min, batched by 8; ours by {batch_size}"
            rows.append((what, duration(plain), duration(ours.wall_s), f"{plain / ours.wall_s:.2f} x", "1.0 x"))
            rows.append(("  speech without text", "", str(len(spans)), "", "0"))
        return rows

    def many_clips(self, number: int) -> list[Row]:
        """Many short clips, each by itself."""
        recordings = clips(self._new("clips"), number, lambda _: 3.0)
        plain = aside("loop", self.model, recordings)["wall_s"] / number
        ours = self.serve("clips-spool", recordings).wall_s / number
        return [(f"a clip of 3 s, of {number}", duration(plain), duration(ours), f"{plain / ours:.2f} x", "1.8 x")]

    def memory(self, hours: float, goes: int) -> list[Row]:
        """Peak memory of all processes, of a long recording against ten minutes; and what is left when idle.

        The peak comes where both workers are at the encoder's widest layer. In ten minutes that is rare, so the shorter
        recording has as many `goes`.
        """
        folder = self._new("memory")
        short = long_recording(folder / "short.mp3", 600)
        short_bytes = max(
            self.serve(f"memory-short-{number}", [short], workers=2, threads=1).peak_bytes for number in range(goes)
        )
        recording = long_recording(folder / "long.mp3", hours * 3600)
        engine = {"workers": 2, "threads": 1, "idle_unload_s": IDLE_S, "max_duration_s": 2 * hours * 3600}
        long = self.serve("memory-long", [recording], until_idle=True, **engine)
        share = 100 * long.service_cpu_s / long.wall_s
        return [
            (
                f"memory: {hours:g} h against 10 min",
                size(short_bytes),
                size(long.peak_bytes),
                f"{long.peak_bytes / short_bytes:.2f} x",
                "1.15 x, 600 MB",
            ),
            ("  of the service, engine unloaded", "", size(long.idle_bytes), "", "80 MB"),
            ("  the service's own computing", "", f"{share:.2f} % of the time", "", "2 %"),
        ]

    def first_progress(self) -> list[Row]:
        """From the claim of a recording of three hours to the first progress that its sidecar tells."""
        recording = long_recording(self._new("first") / "long.mp3", 3 * 3600)
        folder = self._folder / "first-spool"
        settings = {"engine.model": str(self.model), "engine.word_timestamps": "false", "spool.quiet_s": 0}
        service = bench_service.Service(folder, [recording], settings)
        try:
            claimed_s = service.wait(lambda: bool(service.sidecars()))
            told_s = service.wait(lambda: any(fields["progress"] > 0 for fields in service.sidecars().values()))
        finally:
            service.end()
        return [("first progress of 3 h, after the claim", "", duration(told_s - claimed_s), "", "5 s")]

    def words_right(self, minutes: float) -> list[Row]:
        """The word error rate of the bundled model on recordings held out in training."""
        recording, spoken = joined(self._new("words"), minutes)
        plain = word_error_rate(words(aside("loop", DEMO_DIR, [recording])["text"]), spoken)
        bench_service.run(self._folder / "words-spool", [recording], {"engine.model": "demo"})
        heard = words((self._folder / "words-spool" / "outbox" / "joined.txt").read_text())
        ours = word_error_rate(heard, spoken)
        what = f"word error rate, {minutes:.0f} min joined"
        return [(what, f"{plain:.2%}", f"{ours:.2%}", f"{ours / plain:.2f} x", "1.0 x")]


Row = tuple[str, str, str, str, str]


def main() -> None:
    """Run every benchmark and print one table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", action="append")
    parser.add_argument("--side")
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(plain(*json.loads(arguments.side))))
        return
    out = Console()
    table = Table("what", "plain", "cesar-watch", "ratio", "wanted", title=f"Speech, on {CORES} cores")
    with tempfile.TemporaryDirectory(prefix="cesar-bench-") as folder:
        bench = Bench(Path(folder))
        full = arguments.full
        figures: dict[str, Callable[[], list[Row]]] = {
            "mixed": lambda: bench.mixed_folder(30 if full else 3, 60 if full else 8),
            "batches": lambda: bench.batches(30 if full else 3),
            "clips": lambda: bench.many_clips(200 if full else 10),
            "memory": lambda: bench.memory(*((24, 5) if full else (0.3, 1))),
            "first": bench.first_progress,
            "words": lambda: bench.words_right(30 if full else 5),
        }
        for name in arguments.only or figures:
            out.print(f"{name} ...")
            for row in figures[name]():
                out.print("  ", *row)
                table.add_row(*row)
    out.print(table)


if __name__ == "__main__":
    main()
