"""Slow writers before the real service: pauses longer than the quiet window, one transcript of the full length."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.processes import RECORDINGS, expected_words, sidecar, until, word_error_rate, words
from tests.sounds import encode
from tests.watched import Watched, au, watching, wav

SPOKEN = (RECORDINGS / "numbers.wav").read_bytes()
SPOKEN_S = 12.28
TOLERATED_WER = 0.1


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watching(tmp_path_factory.mktemp("slow")) as watched:
        yield watched


def _check_words(watched: Watched, base: str) -> None:
    heard = words((watched.spool / f"outbox/{base}.txt").read_text())
    assert word_error_rate(heard, expected_words("numbers.wav")) <= TOLERATED_WER
    assert sidecar(watched.spool, base)["duration_s"] == pytest.approx(SPOKEN_S, abs=0.2)


def test_writer_that_pauses_longer_than_the_quiet_window_gets_one_transcript_of_every_word(watched: Watched) -> None:
    path = watched.inbox / "numbers.wav"
    with path.open("wb", buffering=0) as writer:
        for begin in range(0, len(SPOKEN), 150_000):
            writer.write(SPOKEN[begin : begin + 150_000])
            watched.passes_over(path)
    watched.completes({"numbers.wav": SPOKEN})
    _check_words(watched, "numbers")


def _mp3_without_a_length(folder: Path) -> bytes:
    samples = np.frombuffer(SPOKEN[44:], "<i2").astype(np.float32) / np.float32(32768)
    return encode(folder / "raw.mp3", samples, "mp3", muxer={"write_xing": "0", "id3v2_version": "0"}).read_bytes()


def test_writer_of_sound_that_proves_nothing_is_waited_for_as_long_as_it_has_the_file_open(
    watched: Watched, tmp_path: Path
) -> None:
    content = _mp3_without_a_length(tmp_path)
    path = watched.inbox / "raw.mp3"
    with path.open("wb", buffering=0) as writer:
        for begin in range(0, len(content), len(content) // 3 + 1):
            writer.write(content[begin : begin + len(content) // 3 + 1])
            watched.passes_over(path)
    watched.completes({"raw.mp3": content})
    _check_words(watched, "raw")


def test_writer_that_opens_the_file_for_each_part_is_waited_for_where_the_header_tells(watched: Watched) -> None:
    path, content = watched.inbox / "parts.wav", wav(1, 5.0)
    for begin in range(0, len(content), 60_000):
        with path.open("ab") as writer:
            writer.write(content[begin : begin + 60_000])
        if begin + 60_000 < len(content):
            watched.passes_over(path)
    watched.completes({"parts.wav": content})


def test_writer_whose_file_gets_its_final_name_too_early_goes_on_writing_and_is_waited_for(watched: Watched) -> None:
    """Renamed into place is the best of all hints, and still only a hint."""
    hidden, path, content = watched.inbox / ".early.au", watched.inbox / "early.au", au(2, 4.0)
    with hidden.open("wb", buffering=0) as writer:
        writer.write(content[:50_000])
        hidden.rename(path)
        watched.passes_over(path)
        writer.write(content[50_000:])
    watched.completes({"early.au": content})


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv")
def test_writer_that_the_kernel_does_not_tell_of_writes_through_the_claim_and_nothing_is_lost(tmp_path: Path) -> None:
    """Another user's file, and a service without the capability: as blind as on a network share."""
    content = _mp3_without_a_length(tmp_path)
    blind = ["setpriv", "--bounding-set=-lease", "--inh-caps=-lease"]
    with watching(tmp_path, prefix=blind) as watched:
        path = watched.inbox / "stranger.mp3"
        with path.open("wb", buffering=0) as writer:
            os.chown(path, 65534, 65534)
            writer.write(content[: len(content) // 2])
            until(lambda: sidecar(watched.spool, "stranger"), "the claim")
            (claimed,) = watched.spool.glob("processing/*/*/stranger.mp3")
            writer.write(content[len(content) // 2 :])
            assert claimed.stat().st_size == len(content)
        watched.completes({"stranger.mp3": content})
        _check_words(watched, "stranger")
