"""Turn decoded frames into 16 kHz rows: one in which all channels are mixed, or one for each channel.

Channels are known by their number alone. What a container calls them ("front left", "low frequency") does not say
who speaks where, and FFmpeg's own mixing, which goes by these names, drops some and refuses others.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from cesar_watch.speech.protocol import SAMPLE_RATE

Samples = npt.NDArray[np.float32]

MOST_MIXED = 64
"""The most channels that FFmpeg resamples."""
MOST_SPLIT = 8
"""The most channels that are worked on one by one: each takes the time and memory of a recording of its own."""

_BLOCK_SAMPLES = SAMPLE_RATE // 2
"""So many come out at a time, however small or large the packets are: some files have one for each sample."""

_CANCELLED = 0.01
"""A mix with less than this part of the channels' power has lost them: of `n` different sounds it keeps 1/n."""


class Converter:
    """Converts the frames of one recording, in their order; some come in another rate, format or layout midway.

    Args:
        rows: How many rows come out, whatever comes in: see `fit`.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._resampler: AudioResampler | None = None
        self._shape: tuple[str, str, int] | None = None

    def convert(self, frame: AudioFrame | None) -> list[Samples]:
        """Return what is ready by now, as float32 arrays (rows, samples) at 16 kHz, between -1 and 1.

        Args:
            frame: The next one; None at the end, for what was still held back.

        Raises:
            FFmpegError, ValueError: FFmpeg can't convert this frame. The next one may be given.
        """
        if frame is None:
            return self._flushed()
        ready = []
        if self._resampler is None or self._shape != _shape(frame):
            # A resampler only knows one kind of input.
            ready = self._flushed()
            # Not planar: PyAV reads beyond the planes of eight channels and more (seen with 18.1).
            self._resampler = AudioResampler(
                format="flt", layout=frame.layout, rate=SAMPLE_RATE, frame_size=_BLOCK_SAMPLES
            )
            self._shape = _shape(frame)
        # Timestamps are not trusted: they jump in damaged files.
        frame.pts = None
        return ready + [self._rows_of(piece) for piece in self._resampler.resample(frame)]

    def _flushed(self) -> list[Samples]:
        resampler, self._resampler = self._resampler, None
        return [self._rows_of(piece) for piece in resampler.resample(None)] if resampler else []

    def _rows_of(self, piece: AudioFrame) -> Samples:
        sound = piece.to_ndarray().reshape(-1, piece.layout.nb_channels).T
        # A damaged float recording can hold anything; the model expects -1 to 1.
        return fit(np.nan_to_num(sound.clip(-1, 1), copy=False), self._rows)


def fit(sound: Samples, rows: int) -> Samples:
    """Return sound of shape (channels, samples) as (rows, samples).

    Channels that are too many are mixed into the last row, so that nothing said is lost; rows that have none are
    silent.
    """
    count, length = sound.shape
    if count > rows:
        return np.concatenate([sound[: rows - 1], mix(sound[rows - 1 :])[None]])
    if count < rows:
        return np.concatenate([sound, np.zeros((rows - count, length), np.float32)])
    return sound


def mix(sound: Samples) -> Samples:
    """Return the mean of channels, which neither clips nor leaves one out; (channels, samples) in, (samples,) out.

    Where they cancel each other out, as the two of a recording with one inverted by mistake, it is the loudest alone.
    """
    mixed: Samples = sound.mean(axis=0)
    power = np.einsum("cs,cs->c", sound, sound)
    is_cancelled = mixed @ mixed < _CANCELLED * power.mean()
    return sound[int(power.argmax())] if is_cancelled else mixed


def _shape(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate
