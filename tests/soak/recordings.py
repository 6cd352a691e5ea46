"""What the soak test damages: recordings in every container that is read, by many programs."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.corpus import FORMATS, Make, Missing, ran
from tests.media import Track, tones, write_media
from tests.sounds import RATE, conversation, write_wav

CALL = np.stack([conversation(1), conversation(1)[::-1]])
EIGHT = tones(*range(200, 1000, 100), seconds=1)
_ONE_CONTAINER = (
    ("wav",),
    ("aiff", "aifc"),
    ("mp4", "m4a", "mov", "3gp"),
    ("mkv", "mka", "webm"),
    ("ogg", "oga", "opus", "spx"),
    ("wma", "wmv"),
    ("ts",),
)
_FAMILY = {ending: "/".join(endings) for endings in _ONE_CONTAINER for ending in endings}


@dataclass(frozen=True)
class Recording:
    """A whole recording, made when it is needed.

    Attributes:
        container: What kind of file it is.
    """

    name: str
    container: str
    make: Make


def recordings() -> list[Recording]:
    """Return all, those that can't be made here too."""
    return [*(Recording(one.name, _container(one.name), one.make) for one in FORMATS), *_WITH_TRACKS, *_BY_FFMPEG]


@functools.cache
def content_of(one: Recording) -> bytes | None:
    """Return its bytes; None where the program that writes it is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        write_wav(Path(folder) / "sound.wav", conversation(1))
        try:
            return one.make(Path(folder))
        except Missing:
            return None


def _container(name: str) -> str:
    ending = name.rpartition(".")[2]
    return _FAMILY.get(ending, ending)


def _media(name: str, tracks: Sequence[Track], picture: str = "", muxer: dict[str, str] | None = None) -> Recording:
    def make(folder: Path) -> bytes:
        return write_media(folder / name, tracks, picture=picture, muxer=muxer).read_bytes()

    return Recording(f"tracks-{name}", _container(name), make)


def _call(codec: str, rate: int = 48_000) -> list[Track]:
    return [Track(CALL, codec, rate)]


_WITH_TRACKS = (
    _media("video.mp4", _call("aac"), "mpeg4"),
    _media("video.mov", _call("pcm_s16le"), "mpeg4"),
    _media("video.mkv", _call("aac") + _call("flac"), "mpeg4"),
    _media("video.webm", _call("libopus"), "libvpx"),
    _media("video.avi", _call("libmp3lame"), "mpeg4"),
    _media("pcm.avi", _call("pcm_s16le"), "mpeg4"),
    _media("video.flv", _call("libmp3lame", 44_100), "flv"),
    _media("aac.flv", _call("aac", 44_100)),
    _media("video.ts", _call("mp2"), "mpeg2video"),
    _media("silent.mp4", [], "mpeg4"),
    _media("silent.mkv", [], "mpeg4"),
    _media("surround.flac", [Track(EIGHT, "flac", 48_000, "7.1")]),
    _media("surround.m4a", [Track(EIGHT, "aac", 48_000, "7.1")]),
    _media("high.wav", [Track(EIGHT, "pcm_s32le", 192_000, "7.1")]),
    _media("many.wav", [Track(np.repeat(EIGHT, 4, axis=0)[:, : RATE // 4], "pcm_f64le", RATE)]),
    _media("a.amr", [Track(CALL[:1], "libopencore_amrnb", 8_000)]),
    _media("amr.3gp", [Track(CALL[:1], "libopencore_amrnb", 8_000)]),
    _media("a.mp2", _call("mp2")),
    _media("a.ac3", _call("ac3")),
    _media("a.eac3", _call("eac3")),
    _media("a.tta", _call("tta")),
    _media("a.wv", _call("wavpack")),
    _media("alaw.wav", _call("pcm_alaw", 8_000)),
    _media("g726.wav", [Track(CALL[:1], "g726", 8_000)]),
    _media("ima.wav", _call("adpcm_ima_wav")),
    _media("ima.mov", _call("adpcm_ima_qt")),
    _media("call.opus", _call("libopus")),
    _media("call.mp3", _call("libmp3lame", 44_100)),
    _media("fragments.mp4", _call("aac"), muxer={"movflags": "frag_keyframe+empty_moov", "frag_duration": "200000"}),
)


def _by_ffmpeg(name: str, options: str) -> Recording:
    return Recording(f"ffmpeg-{name}", _container(name), ran(f"ffmpeg -i sound.wav {options} out.{name}"))


_BY_FFMPEG = (
    _by_ffmpeg("wma", "-c:a wmav2"),
    _by_ffmpeg("wma", "-c:a wmav1"),
    _by_ffmpeg("spx", "-c:a libspeex"),
    _by_ffmpeg("ogg", "-c:a libvorbis"),
    _by_ffmpeg("mka", "-c:a libvorbis"),
    _by_ffmpeg("mpg", "-c:a mp2 -ar 48000"),
    _by_ffmpeg("dts", "-c:a dca -strict -2 -ar 48000"),
    _by_ffmpeg("wav", "-c:a libgsm_ms -ar 8000"),
    _by_ffmpeg("mp4", "-c:a libmp3lame -movflags frag_keyframe+empty_moov"),
)
