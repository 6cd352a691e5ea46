"""Recordings with several tracks, channels and pictures, written by PyAV; and tones, by which tests know them apart."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from tests.sounds import RATE, Samples

_STEP = 4096
_WIDTH, _HEIGHT, _PICTURES_A_SECOND = 64, 48, 5


@dataclass(frozen=True)
class Track:
    """An audio track: sound of shape (channels, samples) at 16 kHz, and how it is written."""

    sound: Samples
    codec: str = "aac"
    rate: int = RATE
    layout: str = ""
    is_default: bool = False


def tone(pitch_hz: float, seconds: float = 2.0, loudness: float = 0.4) -> Samples:
    """One pitch, of shape (samples,)."""
    return np.asarray(loudness * np.sin(2 * np.pi * pitch_hz * np.arange(int(seconds * RATE)) / RATE), np.float32)


def tones(*pitches_hz: float, seconds: float = 2.0) -> Samples:
    """A pitch a channel, of shape (channels, samples)."""
    return np.stack([tone(pitch_hz, seconds) for pitch_hz in pitches_hz])


def pitch(sound: Samples) -> float:
    """The loudest pitch in Hz of sound of shape (samples,), on half a hertz or better; 0.0 for silence."""
    if not np.abs(sound).max(initial=0) > 0.001:
        return 0.0
    spectrum: npt.NDArray[np.float64] = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 2 * RATE * 2))
    return float(spectrum.argmax()) * RATE / (2 * RATE * 2)


def write_media(
    path: Path,
    tracks: Sequence[Track],
    *,
    picture: str = "",
    seconds: float = 2.0,
    kind: str = "",
    adorn: Callable[[OutputContainer], object] = lambda container: None,
    muxer: dict[str, str] | None = None,
) -> Path:
    """Write a recording, with moving pictures where `picture` names a codec for them.

    Args:
        kind: FFmpeg's name of the container, where the file's ending does not tell it.
        adorn: Adds to the container what is neither sound nor picture.
        muxer: Options for it.
    """
    with av.open(str(path), "w", format=kind or None, options=muxer or {}) as container:
        adorn(container)
        video = _video(container, picture) if picture else None
        streams = [_audio(container, track) for track in tracks]
        if video is not None:
            for number in range(int(seconds * _PICTURES_A_SECOND)):
                frame = av.VideoFrame(_WIDTH, _HEIGHT, "yuv420p")
                frame.pts = number
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        for stream, track in zip(streams, tracks, strict=True):
            _encode(container, stream, track)
    return path


def cover(width: int, height: int) -> bytes:
    """An ID3v2.3 tag with a picture, all of which is transparent, to be put before an MP3."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packing, row = zlib.compressobj(), bytes(1 + 4 * width)
    pixels = b"".join([*(packing.compress(row) for _ in range(height)), packing.flush()])
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    picture = b"\0image/png\0\x03\0" + png
    frame = b"APIC" + struct.pack(">IH", len(picture), 0) + picture
    return b"ID3\x03\0\0" + bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0)) + frame


def _video(container: OutputContainer, codec: str) -> VideoStream:
    stream = cast(VideoStream, container.add_stream(codec, rate=_PICTURES_A_SECOND))
    stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
    return stream


def _audio(container: OutputContainer, track: Track) -> AudioStream:
    stream = cast(AudioStream, container.add_stream(track.codec, rate=track.rate))
    stream.layout = _layout(track)
    stream.disposition = Disposition.default if track.is_default else Disposition(0)
    return stream


def _layout(track: Track) -> str:
    return track.layout or {1: "mono", 2: "stereo"}.get(len(track.sound), f"{len(track.sound)} channels")


def _encode(container: OutputContainer, stream: AudioStream, track: Track) -> None:
    for start in range(0, track.sound.shape[1], _STEP):
        # Packed: PyAV can't hold more than eight channels otherwise.
        packed = np.ascontiguousarray(track.sound[:, start : start + _STEP].T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=_layout(track))
        frame.sample_rate, frame.pts = RATE, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
