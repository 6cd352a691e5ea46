"""Stream a recording's sound as 16 kHz float32 blocks, whatever container it comes in. Engine side only."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from av.audio.frame import AudioFrame

from cesar_watch.core.errors import RecordingError
from cesar_watch.core.recording_settings import Channels
from cesar_watch.speech.channels import MOST_MIXED, MOST_SPLIT, Converter, Samples
from cesar_watch.speech.ogg import links
from cesar_watch.speech.protocol import SAMPLE_RATE
from cesar_watch.speech.source import SourceFile
from cesar_watch.speech.track import FAULTS, Track


class AudioStream:
    """An open recording; made by `open_audio`. One thread at a time may use it.

    Attributes:
        channels: The rows of each block.
        declared_s: The length that the header promises, or None where headers of this kind only guess, and where
            several recordings are chained, each with a header of its own.
        expected_s: The same, or else a guess; None where there is none.
        skipped_packets: Damaged packets left out so far.
        decoded_samples: 16 kHz samples of each row decoded so far, those before `start_sample` included.
    """

    def __init__(self, path: Path, max_duration_s: float, number: int, channels: Channels) -> None:
        self._max_duration_s = max_duration_s
        self._number = number
        self._most_channels = MOST_SPLIT if channels == "split" else MOST_MIXED
        self.skipped_packets = 0
        self.decoded_samples = 0
        with ExitStack() as resources:
            self._file = resources.enter_context(SourceFile(path))
            self._open_tracks = resources.enter_context(ExitStack())
            first, *self._later = links(self._file)
            self._track = self._open_track(*first)
            self.channels = self._track.channels if channels == "split" else 1
            self.declared_s = None if self._later else self._track.declared_s
            self.expected_s = None if self._later else self._track.expected_s
            if self.declared_s and self.declared_s > max_duration_s:
                raise self._too_long()
            self._resources = resources.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file and of FFmpeg's buffers."""
        self._resources.close()
        # Resamplers sit in reference cycles and would pile up over a night's recordings
        # (SYSTRAN/faster-whisper#390).
        gc.collect()

    @property
    def decoded_s(self) -> float:
        """Seconds decoded so far."""
        return self.decoded_samples / SAMPLE_RATE

    def blocks(self, start_sample: int = 0, *, look: Callable[[], None] = lambda: None) -> Iterator[Samples]:
        """Yield the sound from `start_sample` on; call it once.

        Each block is float32 of shape (`channels`, samples), at 16 kHz, between -1 and 1, and half a second long, or
        shorter where something changes or ends. Where the number of channels changes midway, missing ones are silent,
        and surplus ones are mixed into the last row.

        What lies before is decoded and thrown away: seeking lands on a packet's edge, or beside it,
        and a resumed recording must have the same samples as an unbroken one.

        Args:
            look: Called for each half second decoded, thrown away or not; what it raises comes out.

        Raises:
            RecordingError: `too_long`, or `nothing_decoded` at the end.
            AttemptError: `source_unreadable`, the file can't be read on.
        """
        limit = int(self._max_duration_s * SAMPLE_RATE)
        for block in self._converted():
            look()
            begin = self.decoded_samples
            self.decoded_samples += block.shape[1]
            if self.decoded_samples > limit:
                raise self._too_long()
            if self.decoded_samples > start_sample:
                yield block[:, max(0, start_sample - begin) :]
        self._file.check()
        if self.decoded_samples == 0:
            raise self._file.refusal(
                "nothing_decoded",
                "holds no sound that can be decoded: it is damaged. Check it by playing it, and drop it again.",
            )

    def _converted(self) -> Iterator[Samples]:
        converter = Converter(self.channels)
        for frame in itertools.chain(self._frames(), [None]):
            try:
                blocks = converter.convert(frame)
            except FAULTS:
                self._skip()
                continue
            yield from blocks

    def _frames(self) -> Iterator[AudioFrame]:
        yield from self._track.frames()
        for link in self._later:
            try:
                track = self._open_track(*link)
            except RecordingError:
                self._skip()
            else:
                yield from track.frames()

    def _open_track(self, begin: int, end: int) -> Track:
        """Open the track in one link of the file, instead of the one before."""
        self._open_tracks.close()
        self._file.narrow(begin, end)
        track = Track(self._file, self._number, most_channels=self._most_channels, skip=self._skip)
        self._open_tracks.callback(track.close)
        return track

    def _skip(self) -> None:
        self.skipped_packets += 1

    def _too_long(self) -> RecordingError:
        return self._file.refusal(
            "too_long",
            f"is longer than {self._max_duration_s:g} s. Cut it, or raise engine.max_duration_s, and drop it again.",
        )


def open_audio(path: Path, *, max_duration_s: float, track: int = 0, channels: Channels = "mix") -> AudioStream:
    """Open a recording for one pass over its sound; use it as a context manager.

    Args:
        track: Which audio track, counted from 1. 0: the one that the container marks as its default, or else the
            first; of those that can be decoded.
        channels: mix: blocks have one row. split: one row for each channel that the track has at its beginning.

    Raises:
        RecordingError: `empty_file`, `not_media`, `no_audio`, `no_such_track`, `unsupported_codec`,
            `unsupported_rate`, `too_many_channels`, or `too_long` where its own header says so. Nothing stays open.
        AttemptError: `source_unreadable`, the file is gone or can't be read.
    """
    return AudioStream(path, max_duration_s, track, channels)
