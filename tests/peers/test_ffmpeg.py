"""ffmpeg records straight into the inbox: the final name from the first byte, with pauses, in parts, and killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import sidecar
from tests.sounds import RATE
from tests.tool import grows, needs, tool
from tests.watched import Watched, hum, watching

pytestmark = needs("ffmpeg")
LENGTH_S = 60.0
BYTES_A_SECOND = 2 * RATE


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watching(tmp_path_factory.mktemp("ffmpeg")) as watched:
        yield watched


def _records(*output: str | Path) -> list[str | Path]:
    """Return the command that records raw samples from its standard input."""
    listening = ["-f", "s16le", "-ar", str(RATE), "-ac", "1", "-i", "pipe:0"]
    return ["ffmpeg", "-hide_banner", "-loglevel", "error", *listening, *output]


def _check_length(watched: Watched, name: str, seconds: float) -> None:
    assert sidecar(watched.spool, Path(name).stem)["duration_s"] == pytest.approx(seconds, abs=0.2)


@pytest.mark.parametrize(
    ("seed", "name", "options"),
    [
        (1, "radio1.wav", []),
        (2, "radio2.mkv", ["-c:a", "flac"]),
        (3, "radio3.m4a", ["-c:a", "aac"]),
        (4, "radio4.mp3", ["-c:a", "mp2", "-f", "mp2"]),
        (5, "radio5.flac", []),
        (6, "radio6.aac", ["-c:a", "aac", "-flush_packets", "1"]),
    ],
    ids=["wav", "mkv", "m4a", "mp2", "flac", "aac"],
)
def test_recording_with_a_pause_makes_one_job_of_the_full_length(
    watched: Watched, tmp_path: Path, seed: int, name: str, options: list[str]
) -> None:
    sound, half = hum(seed, LENGTH_S), int(LENGTH_S / 2) * BYTES_A_SECOND
    with tool(*_records(*options, watched.inbox / name), cwd=tmp_path) as ffmpeg:
        ffmpeg.feed(sound[:half])
        grows(watched.inbox, name)
        watched.waits("being_written")
        watched.passes_over(watched.inbox / name)
        ffmpeg.feed(sound[half:])
        ffmpeg.ends()
    watched.completes({name: None})
    _check_length(watched, name, LENGTH_S)


def test_recording_in_parts_gives_each_part_when_the_next_one_begins(watched: Watched, tmp_path: Path) -> None:
    """A recorder that runs for ever: what it has finished must not wait for what it is writing."""
    parts: list[str | Path] = [
        "-f",
        "segment",
        "-segment_time",
        "10",
        "-c:a",
        "pcm_s16le",
        watched.inbox / "part%d.wav",
    ]
    with tool(*_records(*parts), cwd=tmp_path) as ffmpeg:
        ffmpeg.feed(hum(7, 25.0))
        watched.completes({"part0.wav": None, "part1.wav": None})
        watched.passes_over(watched.inbox / "part2.wav")
        ffmpeg.ends()
    watched.completes({"part2.wav": None})
    for number, length_s in enumerate((10.0, 10.0, 5.0)):
        _check_length(watched, f"part{number}.wav", length_s)


def test_recording_whose_recorder_was_killed_is_transcribed_as_far_as_it_goes(watched: Watched, tmp_path: Path) -> None:
    """Nothing in the file says how long it was meant to be."""
    with tool(*_records(watched.inbox / "killed.wav"), cwd=tmp_path) as ffmpeg:
        ffmpeg.feed(hum(8, 30.0))
        grows(watched.inbox, "killed.wav", 500_000)
        watched.waits("being_written")
        written = (watched.inbox / "killed.wav").stat().st_size
        ffmpeg.breaks_off()
    watched.completes({"killed.wav": None})
    _check_length(watched, "killed.wav", written / BYTES_A_SECOND)
