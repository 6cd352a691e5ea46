"""Stream a recording's sound as 16 kHz mono float32 blocks, whatever container it comes in.

The file is opened here, never by FFmpeg: so an error from FFmpeg is always the recording's fault,
and nothing inside a recording can make another file be read. Engine side only.
"""

from __future__ import annotations

import gc
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream as CodedStream
from av.container import InputContainer
from av.packet import Packet

from cesar_watch.core.errors import AttemptError, RecordingError
from cesar_watch.speech.declared import declared_duration
from cesar_watch.speech.protocol import SAMPLE_RATE

Samples = npt.NDArray[np.float32]

FORMATS = (
    "3g2,3gp,aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,eac3,flac,flv,m4a,matroska,mj2,mov,mp2,mp3,"
    "mp4,mpc,mpc8,mpeg,mpegts,ogg,spx,tta,w64,wav,webm,wv"
)
"""The demuxers that FFmpeg may use. Playlists (concat, hls, dash, sdp) would read other files and hosts."""

_LOWEST_RATE = 2_000
"""Hz. A 10 KB file that claims 1 Hz swells to hours; nobody records speech below this."""

_MAX_ERRORS_IN_A_ROW = 1_000
"""A demuxer that fails this often without a packet in between will never find another one."""

_FAULTS = (av.error.FFmpegError, OSError, ValueError, IndexError)
"""What PyAV raises for damaged content; IndexError when a broadcast gains a stream midway."""


class AudioStream:
    """An open recording; made by `open_audio`. One thread at a time may use it.

    Attributes:
        declared_s: The length that the header promises, or None where headers of this kind only guess.
        skipped_packets: Damaged packets left out so far.
        decoded_samples: 16 kHz samples decoded so far, those before `start_sample` included.
    """

    def __init__(self, path: Path, max_duration_s: float) -> None:
        self._path = path
        self._max_duration_s = max_duration_s
        self.skipped_packets = 0
        self.decoded_samples = 0
        with ExitStack() as resources:
            self._file = resources.enter_context(_SourceFile(path))
            self._container = resources.enter_context(self._open_container())
            self._stream = self._first_audio()
            self.declared_s = declared_duration(self._file, self._container, self._stream)
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

    def blocks(self, start_sample: int = 0) -> Iterator[Samples]:
        """Yield the sound from `start_sample` on, in blocks of any length; call it once.

        What lies before is decoded and thrown away: seeking lands on a packet's edge, or beside it,
        and a resumed recording must have the same samples as an unbroken one.

        Raises:
            RecordingError: `too_long`, or `nothing_decoded` at the end.
            AttemptError: `source_unreadable`, the file can't be read on.
        """
        limit = int(self._max_duration_s * SAMPLE_RATE)
        for block in self._resampled():
            begin = self.decoded_samples
            self.decoded_samples += len(block)
            if self.decoded_samples > limit:
                raise RecordingError(
                    f"{self._path.name} is longer than {self._max_duration_s:g} s. "
                    "Cut it, or raise engine.max_duration_s, and drop it again.",
                    reason="too_long",
                )
            if self.decoded_samples > start_sample:
                yield block[max(0, start_sample - begin) :]
        self._file.check()
        if self.decoded_samples == 0:
            raise RecordingError(
                f"{self._path.name} holds no sound that can be decoded: it is damaged. "
                "Check it by playing it, and drop it again.",
                reason="nothing_decoded",
            )

    def _open_container(self) -> InputContainer:
        try:
            return av.open(
                self._file, mode="r", metadata_errors="ignore", container_options={"format_whitelist": FORMATS}
            )
        except _FAULTS as fault:
            self._file.check()
            raise _not_media(self._path) from fault

    def _first_audio(self) -> CodedStream:
        if not self._container.streams.audio:
            raise RecordingError(
                f"{self._path.name} has no sound track. Drop the recording that has the sound.", reason="no_audio"
            )
        return self._container.streams.audio[0]

    def _resampled(self) -> Iterator[Samples]:
        resampler, shape = None, None
        for frame in self._frames():
            # Some streams change their rate or channels midway; a resampler only knows one input.
            if resampler is None or shape != _shape(frame):
                yield from self._converted(resampler, None)
                resampler, shape = AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE), _shape(frame)
            # Timestamps are not trusted: they jump in damaged files.
            frame.pts = None
            yield from self._converted(resampler, frame)
        yield from self._converted(resampler, None)

    def _converted(self, resampler: AudioResampler | None, frame: AudioFrame | None) -> list[Samples]:
        """Return the frame's samples; for no frame, those that the resampler still holds."""
        if resampler is None:
            return []
        try:
            pieces = resampler.resample(frame)
        except _FAULTS:
            self.skipped_packets += 1
            return []
        # A damaged float recording can hold anything; the model expects -1 to 1.
        return [np.nan_to_num(piece.to_ndarray().reshape(-1).clip(-1, 1)) for piece in pieces]

    def _frames(self) -> Iterator[AudioFrame]:
        for packet in self._packets():
            try:
                frames = packet.decode()
            except _FAULTS:
                self.skipped_packets += 1
                continue
            for frame in frames:
                if isinstance(frame, AudioFrame) and frame.samples:
                    if frame.sample_rate < _LOWEST_RATE:
                        raise _not_media(self._path)
                    yield frame

    def _packets(self) -> Iterator[Packet[CodedStream]]:
        errors = 0
        while errors < _MAX_ERRORS_IN_A_ROW:
            try:
                for packet in self._container.demux(self._stream):
                    errors = 0
                    yield packet
                return
            except _FAULTS:
                self._file.check()
                self.skipped_packets += 1
                errors += 1


def open_audio(path: Path, *, max_duration_s: float) -> AudioStream:
    """Open a recording for one pass over its sound; use it as a context manager.

    Raises:
        RecordingError: `empty_file`, `not_media` or `no_audio`. Nothing stays open.
        AttemptError: `source_unreadable`, the file is gone or can't be read.
    """
    return AudioStream(path, max_duration_s)


class _SourceFile:
    """The recording as FFmpeg reads it; remembers an error of the disk, which FFmpeg would blur."""

    def __init__(self, path: Path) -> None:
        self.name = str(path.absolute())
        self._path = path
        self._fault: OSError | None = None
        try:
            # No link is followed, and a pipe or device doesn't make us wait.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as fault:
            raise _unreadable(path, fault) from fault
        try:
            self._refuse(os.fstat(descriptor))
        except RecordingError:
            os.close(descriptor)
            raise
        self._stream: BinaryIO = os.fdopen(descriptor, "rb")

    def _refuse(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise RecordingError(f"{self._path.name} is not a file. Drop the recording itself.", reason="not_media")
        if status.st_size == 0:
            raise RecordingError(
                f"{self._path.name} is empty: its copy may have been broken off. Drop it again.", reason="empty_file"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except OSError as fault:
            self._fault = fault
            raise

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._stream.seek(offset, whence)
        except OSError:
            # A damaged header sends FFmpeg to places before the beginning; it understands a negative answer.
            return -1

    def tell(self) -> int:
        return self._stream.tell()

    def check(self) -> None:
        """Raise what the disk said, if it said anything: then FFmpeg's own complaint means nothing."""
        if self._fault is not None:
            raise _unreadable(self._path, self._fault) from self._fault


def _shape(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _not_media(path: Path) -> RecordingError:
    return RecordingError(
        f"{path.name} is not a recording that can be read: it may be damaged or something else under that name. "
        "Check it by playing it, and drop it again.",
        reason="not_media",
    )


def _unreadable(path: Path, fault: OSError) -> AttemptError:
    return AttemptError(
        f"{path.name} can't be read ({fault.strerror or fault}). See that the disk or share is there.",
        reason="source_unreadable",
    )
