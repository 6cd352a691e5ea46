"""Whole recordings as many programs write them, and what their structure proves of them, whole and cut in half.

PyAV's are always there, on a disk and into a pipe; those of other programs where the program is installed.
"""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream

import cesar_watch
from cesar_watch.intake.probe import Complete, Short, Unknown, Verdict
from tests.sounds import RATE, Samples, encode, voice, write_wav

SECONDS = 10.0
BUNDLED = Path(cesar_watch.__file__).parent / "assets" / "demo" / "recordings"
Make = Callable[[Path], bytes]


class Missing(Exception):
    """The program that writes this recording is not installed."""


@dataclass(frozen=True)
class Format:
    """A recording, and what its structure proves.

    Attributes:
        by: The program that writes it.
        make: Makes it in an empty folder that holds `sound.wav`, and returns its bytes.
        whole: The verdict on the file as it is.
        half: What is said of its first half.
        filled: What is said of its first half with zeros in place of the second.
        behind_bytes: So long is the tag behind the sound, which no program misses.
    """

    name: str
    by: str
    make: Make
    whole: type[Verdict] = Complete
    half: type[Verdict] = Short
    filled: type[Verdict] = Unknown
    behind_bytes: int = 0


def build(one: Format, folder: Path) -> bytes:
    """Return the bytes of the whole recording.

    Raises:
        Missing: Its program is not installed.
    """
    write_wav(folder / "sound.wav", voice(SECONDS))
    return one.make(folder)


# --- how they are made ------------------------------------------------------------------------------


def _written(name: str, codec: str, rate: int = 16_000, **muxer: str) -> Make:
    """PyAV, into a file."""
    return lambda folder: encode(folder / name, voice(SECONDS), codec, rate=rate, muxer=muxer).read_bytes()


class _Pipe(io.RawIOBase):
    """What is written to it can't be gone back to."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(cast(bytes, data))
        self.content += part
        return len(part)


def _piped(kind: str, codec: str, rate: int = 16_000, **muxer: str) -> Make:
    """PyAV, into a pipe: sizes that are only known in the end stay what they were in the beginning."""

    def make(folder: Path) -> bytes:
        pipe = _Pipe()
        with av.open(pipe, "w", format=kind, options=muxer) as container:
            _encode(container, voice(SECONDS), codec, rate)
        return bytes(pipe.content)

    return make


def _encode(container: av.container.OutputContainer, sound: Samples, codec: str, rate: int) -> None:
    stream = cast(AudioStream, container.add_stream(codec, rate=rate))
    stream.layout = "mono"
    for start in range(0, len(sound), RATE):
        frame = av.AudioFrame.from_ndarray(sound[None, start : start + RATE], format="fltp", layout="mono")
        frame.sample_rate = RATE
        frame.pts = start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def ran(command: str, *, given: bytes | None = None) -> Make:
    """A program that reads sound.wav, or its standard input, and writes `out`, or its standard output."""

    def make(folder: Path) -> bytes:
        words = command.split()
        if shutil.which(words[0]) is None:
            raise Missing(f"{words[0]} is not installed")
        done = subprocess.run(words, cwd=folder, input=given, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        found = sorted(folder.glob("out*"))
        return found[0].read_bytes() if found else done.stdout

    return make


def _then(first: Make, *changes: Callable[[bytes], bytes]) -> Make:
    def make(folder: Path) -> bytes:
        content = first(folder)
        for change in changes:
            content = change(content)
        return content

    return make


def _tagged(before: bytes = b"", behind: bytes = b"") -> Callable[[bytes], bytes]:
    return lambda content: before + content + behind


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _chunk_behind(content: bytes) -> bytes:
    """A WAV with notes behind its sound, counted in its size."""
    longer = content + b"LIST" + struct.pack("<I", 12) + b"INFOISFT" + struct.pack("<I", 0)
    return longer[:4] + struct.pack("<I", len(longer) - 8) + longer[8:]


def _odd(folder: Path) -> bytes:
    """Eight bits and an odd number of samples: a byte of padding behind the sound."""
    sound = ((voice(SECONDS)[:-1] + 1) * 127).astype(np.uint8).tobytes()
    head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, RATE, 1, 8)
    rest = head + b"data" + struct.pack("<I", len(sound)) + sound + b"\0"
    return b"RIFF" + struct.pack("<I", len(rest)) + rest


def _wave_module(folder: Path) -> bytes:
    return (folder / "sound.wav").read_bytes()


def _bundled(name: str) -> Make:
    return lambda folder: (BUNDLED / name).read_bytes()


RAW = np.clip(voice(SECONDS) * 32767, -32768, 32767).astype("<i2").tobytes()
ID3V1 = b"TAG" + b"Talk".ljust(125, b"\0")
ID3V2 = b"ID3\x04\0\0" + bytes((0, 0, 40, 16)) + bytes(40 * 128 + 16)
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0x8000_0000) + bytes(8) + b"\1" * 24


def _nothing(formats: Iterable[Format]) -> list[Format]:
    """Formats of which nothing is proven, whole or not."""
    return [Format(one.name, one.by, one.make, Unknown, Unknown, Unknown) for one in formats]


PYAV = "PyAV"
CHUNKS = (
    Format("wave-module.wav", "Python", _wave_module),
    Format("odd.wav", "by hand", _odd),
    Format("list-behind.wav", "by hand", _then(_wave_module, _chunk_behind)),
    Format("ffmpeg.wav", PYAV, _written("a.wav", "pcm_s16le")),
    Format("float.wav", PYAV, _written("a.wav", "pcm_f32le")),
    Format("mulaw.wav", PYAV, _written("a.wav", "pcm_mulaw")),
    Format("rf64.wav", PYAV, _written("a.wav", "pcm_s16le", rf64="always")),
    Format(
        "bw64.wav", "by hand", _then(_written("a.wav", "pcm_s16le", rf64="always"), lambda made: b"BW64" + made[4:])
    ),
    # Its last block is padded, and zeros at the end are what an end that has not come looks like.
    Format("adpcm.wav", PYAV, _written("a.wav", "adpcm_ms"), whole=Unknown),
    Format("a.w64", PYAV, _written("a.w64", "pcm_s16le")),
    Format("a.aiff", PYAV, _written("a.aiff", "pcm_s16be")),
    Format("sowt.aifc", PYAV, _written("a.aiff", "pcm_s16le")),
    Format("a.caf", PYAV, _written("a.caf", "pcm_s16be")),
    Format("alac.caf", PYAV, _written("a.caf", "alac")),
    Format("a.au", PYAV, _written("a.au", "pcm_s16be")),
    Format("sox.wav", "sox", ran("sox sound.wav out.wav")),
    Format("sox-24bit.wav", "sox", ran("sox sound.wav -b 24 out.wav")),
    Format("sox.aiff", "sox", ran("sox sound.wav out.aiff")),
    Format("sox.aifc", "sox", ran("sox sound.wav out.aifc")),
    Format("sox.w64", "sox", ran("sox sound.wav out.w64")),
    Format("sox.caf", "sox", ran("sox sound.wav out.caf")),
    Format("sox.au", "sox", ran("sox sound.wav out.au")),
    Format("ffmpeg-program.wav", "ffmpeg", ran("ffmpeg -i sound.wav -metadata title=Talk out.wav")),
    *_nothing(
        (
            Format("pipe.wav", PYAV, _piped("wav", "pcm_s16le")),
            Format("pipe.w64", PYAV, _piped("w64", "pcm_s16le")),
            Format("pipe.aiff", PYAV, _piped("aiff", "pcm_s16be")),
            Format("pipe.caf", PYAV, _piped("caf", "pcm_s16be")),
            Format("pipe.au", PYAV, _piped("au", "pcm_s16be")),
            Format("sox-pipe.wav", "sox", ran("sox -t raw -r 16000 -b 16 -e signed -c 1 - -t wav -", given=RAW)),
            Format("sox-pipe.au", "sox", ran("sox -t raw -r 16000 -b 16 -e signed -c 1 - -t au -", given=RAW)),
            Format("ffmpeg-pipe.wav", "ffmpeg", ran("ffmpeg -i sound.wav -f wav -")),
        )
    ),
)
FLAC_RAW = "flac --endian=little --sign=signed --channels=1 --bps=16 --sample-rate=16000 --silent"
FRAMES = (
    Format("a.flac", PYAV, _written("a.flac", "flac"), filled=Short),
    Format("id3v2.flac", PYAV, _then(_written("a.flac", "flac"), _tagged(ID3V2)), filled=Short),
    Format("id3v1.flac", PYAV, _then(_written("a.flac", "flac"), _tagged(behind=ID3V1)), Unknown, filled=Short),
    Format("flac.flac", "flac", ran("flac --silent sound.wav -o out.flac"), filled=Short),
    Format(
        "padded.flac", "flac", ran("flac --silent --padding=70000 --seekpoint=1s sound.wav -o out.flac"), filled=Short
    ),
    Format("large-blocks.flac", "flac", ran("flac --silent -b 65535 --lax sound.wav -o out.flac"), filled=Short),
    Format("sox.flac", "sox", ran("sox sound.wav out.flac"), filled=Short),
    Format("xing.mp3", PYAV, _written("a.mp3", "libmp3lame")),
    Format("id3v1.mp3", PYAV, _written("a.mp3", "libmp3lame", write_id3v1="1")),
    Format("ape.mp3", PYAV, _then(_written("a.mp3", "libmp3lame"), _tagged(behind=APE + ID3V1)), behind_bytes=184),
    Format("cbr.mp3", "lame", ran("lame --quiet -b 64 sound.wav out.mp3")),
    Format("vbr.mp3", "lame", ran("lame --quiet -V 5 sound.wav out.mp3")),
    Format("abr.mp3", "lame", ran("lame --quiet --abr 64 sound.wav out.mp3")),
    Format(
        "tagged.mp3",
        "lame",
        ran("lame --quiet -V 5 --tt Talk --add-id3v2 --pad-id3v2 sound.wav out.mp3"),
        behind_bytes=128,
    ),
    Format("free-format.mp3", "lame", ran("lame --quiet --freeformat -b 80 sound.wav out.mp3")),
    Format("ffmpeg-program.mp3", "ffmpeg", ran("ffmpeg -i sound.wav out.mp3")),
    *_nothing(
        (
            Format("no-xing.mp3", PYAV, _written("a.mp3", "libmp3lame", write_xing="0")),
            Format("pipe.mp3", PYAV, _piped("mp3", "libmp3lame")),
            Format("sox.mp3", "sox", ran("sox sound.wav out.mp3")),
            Format("no-tag.mp3", "lame", ran("lame --quiet -t -b 64 sound.wav out.mp3")),
            Format("lame-pipe.mp3", "lame", ran("lame --quiet -r -s 16 -m m --signed --little-endian - -", given=RAW)),
            Format("pipe.flac", PYAV, _piped("flac", "flac")),
            Format("flac-pipe.flac", "flac", ran(f"{FLAC_RAW} -c -", given=RAW)),
            Format("a.aac", PYAV, _written("a.aac", "aac")),
            Format("a.ts", PYAV, _written("a.ts", "aac")),
            Format("a.ac3", PYAV, _written("a.ac3", "ac3", 48_000)),
        )
    ),
)
PAGES = (
    Format("opus.ogg", PYAV, _written("a.ogg", "libopus", 48_000), filled=Short),
    Format("flac.oga", PYAV, _written("a.oga", "flac"), filled=Short),
    Format("pipe.ogg", PYAV, _piped("ogg", "libopus", 48_000), filled=Short),
    Format("opusenc.opus", "opusenc", ran("opusenc --quiet sound.wav out.opus"), filled=Short),
    Format("opusenc-pages.opus", "opusenc", ran("opusenc --quiet --max-delay 0 sound.wav out.opus"), filled=Short),
    Format("oggenc.ogg", "oggenc", ran("oggenc --quiet sound.wav -o out.ogg"), filled=Short),
    Format("sox.ogg", "sox", ran("sox sound.wav out.ogg"), filled=Short),
    Format("flac.ogg", "flac", ran("flac --silent --ogg sound.wav -o out.oga"), filled=Short),
    Format(
        "chained.ogg", "oggenc", _then(ran("oggenc --quiet sound.wav -o out.ogg"), lambda made: made * 3), filled=Short
    ),
)
BOXES = (
    Format("index-at-the-end.m4a", PYAV, _written("a.m4a", "aac"), filled=Short),
    Format("index-first.m4a", PYAV, _written("a.m4a", "aac", movflags="faststart")),
    Format("reserved.m4a", PYAV, _written("a.m4a", "aac", moov_size="100000")),
    Format("alac.m4a", PYAV, _written("a.m4a", "alac"), filled=Short),
    Format("opus.mp4", PYAV, _written("a.mp4", "libopus", 48_000), filled=Short),
    Format(
        "free-behind.m4a",
        PYAV,
        _then(_written("a.m4a", "aac"), _tagged(behind=_box(b"free", b"\1" * 900))),
        filled=Short,
    ),
    Format(
        "uuid-behind.m4a",
        PYAV,
        _then(_written("a.m4a", "aac"), _tagged(behind=_box(b"uuid", b"\1" * 900))),
        filled=Short,
    ),
    Format(
        "fragments.mp4",
        PYAV,
        _written("a.mp4", "aac", movflags="frag_keyframe+empty_moov", frag_duration="1500000"),
        filled=Short,
    ),
    Format(
        "pipe.mp4",
        PYAV,
        _piped("mp4", "aac", movflags="frag_keyframe+empty_moov+default_base_moof", frag_duration="1500000"),
        filled=Short,
    ),
    Format(
        "dash.mp4",
        PYAV,
        _written("a.mp4", "aac", movflags="dash+skip_trailer", frag_duration="1500000"),
        whole=Unknown,
        filled=Short,
    ),
    Format("a.mov", PYAV, _written("a.mov", "pcm_s16le"), filled=Short),
    Format("a.3gp", PYAV, _written("a.3gp", "aac"), filled=Short),
    Format("ffmpeg-program.m4a", "ffmpeg", ran("ffmpeg -i sound.wav out.m4a"), filled=Short),
    Format("a.mkv", PYAV, _written("a.mkv", "aac")),
    Format("cues-first.mkv", PYAV, _written("a.mkv", "aac", cues_to_front="1", reserve_index_space="5000")),
    Format("a.webm", PYAV, _written("a.webm", "libopus", 48_000)),
    Format("mkvmerge.mka", "mkvmerge", ran("mkvmerge -q -o out.mka sound.wav")),
    Format("no-cues.mka", "mkvmerge", ran("mkvmerge -q --no-cues --clusters-in-meta-seek -o out.mka sound.wav")),
    Format("ffmpeg-program.mka", "ffmpeg", ran("ffmpeg -i sound.wav -c:a flac out.mka")),
    # The last packet of an ASF is filled up with zeros.
    Format("a.wma", PYAV, _written("a.wma", "libmp3lame"), whole=Unknown),
    Format("ffmpeg-program.wma", "ffmpeg", ran("ffmpeg -i sound.wav out.wma"), whole=Unknown),
    *_nothing(
        (
            Format("ffmpeg-pipe.wma", "ffmpeg", ran("ffmpeg -i sound.wav -f asf -")),
            Format("live.mkv", PYAV, _written("a.mkv", "aac", live="1")),
            Format("live.webm", PYAV, _written("a.webm", "libopus", 48_000, live="1")),
            Format("pipe.webm", PYAV, _piped("webm", "libopus", 48_000)),
            Format("pipe.mkv", PYAV, _piped("matroska", "aac")),
            Format("pipe.wma", PYAV, _piped("asf", "libmp3lame")),
        )
    ),
)
DEMO = (
    Format("letters.mp3", "bundled", _bundled("letters.mp3")),
    Format("meeting.m4a", "bundled", _bundled("meeting.m4a"), filled=Short),
    Format("shopping.ogg", "bundled", _bundled("shopping.ogg"), filled=Short),
    # It is silent at its end.
    Format("numbers.wav", "bundled", _bundled("numbers.wav"), whole=Unknown),
)
FORMATS = (*CHUNKS, *FRAMES, *PAGES, *BOXES, *DEMO)
