"""The probe against real recordings of many muxers: whole, cut anywhere, cut and filled with zeros, and mutated."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

import cesar_watch
from cesar_watch.intake.probe import COMPLETE, UNKNOWN, Complete, Short, Unknown, Verdict, probe
from cesar_watch.intake.probe.verdict import BUDGET_BYTES
from tests.sounds import encode, voice, write_wav

BUNDLED = Path(cesar_watch.__file__).parent / "assets" / "demo" / "recordings"
MUTATIONS = 2000


@dataclass(frozen=True)
class Format:
    """A way to write a recording, and what its structure proves of it.

    Attributes:
        whole: The verdict on the file as it is.
        half: What is said of its first half.
        filled: What is said of its first half with zeros in place of the second.
    """

    name: str
    codec: str = ""
    rate: int = 16_000
    muxer: tuple[tuple[str, str], ...] = ()
    whole: type[Verdict] = Complete
    half: type[Verdict] = Short
    filled: type[Verdict] = Unknown


def _muxer(**options: str) -> tuple[tuple[str, str], ...]:
    return tuple(options.items())


FORMATS = (
    Format("wave-module.wav"),
    Format("ffmpeg.wav", "pcm_s16le"),
    Format("rf64.wav", "pcm_s16le", muxer=_muxer(rf64="always")),
    # Its last block is padded, and zeros at the end are what an end that has not come looks like.
    Format("adpcm.wav", "adpcm_ms", whole=Unknown),
    Format("a.aiff", "pcm_s16be"),
    Format("a.flac", "flac", filled=Short),
    Format("opus.ogg", "libopus", 48_000, filled=Short),
    Format("flac.oga", "flac", filled=Short),
    Format("index-at-the-end.m4a", "aac", filled=Short),
    Format("index-first.m4a", "aac", muxer=_muxer(movflags="faststart")),
    Format("fragments.mp4", "aac", muxer=_muxer(movflags="frag_keyframe+empty_moov", frag_duration="1000000")),
    Format("a.mov", "pcm_s16le", filled=Short),
    Format("a.3gp", "aac", filled=Short),
    Format("a.mkv", "aac"),
    Format("a.webm", "libopus", 48_000),
    Format("xing.mp3", "libmp3lame"),
    # Nothing in these could be compared with the file.
    Format("live.mkv", "aac", muxer=_muxer(live="1"), whole=Unknown, half=Unknown),
    Format("no-xing.mp3", "libmp3lame", muxer=_muxer(write_xing="0"), whole=Unknown, half=Unknown),
    Format("a.aac", "aac", whole=Unknown, half=Unknown),
    Format("a.ts", "aac", whole=Unknown, half=Unknown),
    # The bundled ones; the last is silent at its end.
    Format("letters.mp3"),
    Format("meeting.m4a", filled=Short),
    Format("shopping.ogg", filled=Short),
    Format("numbers.wav", whole=Unknown),
)
PROVABLE = tuple(one for one in FORMATS if one.half is Short)
by_format = pytest.mark.parametrize("kind", FORMATS, ids=lambda one: one.name)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every recording's bytes, by name."""
    folder, sound, made = tmp_path_factory.mktemp("library"), voice(10.0), {}
    for kind in FORMATS:
        if (BUNDLED / kind.name).exists():
            path = BUNDLED / kind.name
        elif not kind.codec:
            path = write_wav(folder / kind.name, sound)
        else:
            path = encode(folder / kind.name, sound, kind.codec, rate=kind.rate, muxer=dict(kind.muxer))
        made[kind.name] = path.read_bytes()
    return made


def judged(path: Path, content: bytes) -> Verdict:
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return probe(descriptor, len(content))
    finally:
        os.close(descriptor)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "talk"


def places(content: bytes, count: int = 250) -> Iterable[int]:
    """Where to cut: evenly over the file, and at each byte of its first and last few."""
    evenly = (len(content) * step // count for step in range(count))
    return sorted({*evenly, *range(min(100, len(content))), *range(len(content) - 20, len(content))})


# --- whole recordings -------------------------------------------------------------------------------


@by_format
def test_probe_of_a_whole_recording_says_what_can_be_proven(
    library: dict[str, bytes], path: Path, kind: Format
) -> None:
    assert isinstance(judged(path, library[kind.name]), kind.whole)


@by_format
@pytest.mark.parametrize(
    "junk",
    [b"x", bytes(3), bytes(70_000), b"TAG" + bytes(125), b"APETAGEX" + bytes(24) + b"cover" * 999, b"\xff" * 700],
    ids=["byte", "pad", "zeros", "id3v1", "ape", "ones"],
)
def test_probe_never_calls_a_recording_with_something_behind_it_short(
    library: dict[str, bytes], path: Path, kind: Format, junk: bytes
) -> None:
    assert not isinstance(judged(path, library[kind.name] + junk), Short)


@by_format
def test_probe_never_calls_a_recording_with_a_tag_in_front_short(
    library: dict[str, bytes], path: Path, kind: Format
) -> None:
    tag = b"ID3\x04\0\0" + bytes((0, 0, 40, 16)) + os.urandom(40 * 128 + 16)

    assert not isinstance(judged(path, tag + library[kind.name]), Short)


def riff(data_bytes: int, *, riff_bytes: int | None = None, behind: bytes = b"", sound: bytes = b"\1" * 64) -> bytes:
    """A WAV whose sizes are as a test wants them."""
    parts = b"WAVE" + b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8) + b"data"
    rest = struct.pack("<I", data_bytes) + sound + behind
    return b"RIFF" + struct.pack("<I", len(parts + rest) if riff_bytes is None else riff_bytes) + parts + rest


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFDB])
@pytest.mark.parametrize("both", [True, False])
def test_probe_of_a_wav_whose_writer_did_not_know_its_size_proves_nothing(path: Path, size: int, both: bool) -> None:
    assert judged(path, riff(size, riff_bytes=size if both else None)) == UNKNOWN


def test_probe_of_a_wav_with_notes_behind_the_sound_is_complete(path: Path) -> None:
    assert judged(path, riff(64, behind=b"LIST" + struct.pack("<I", 4) + b"INFO")) == COMPLETE


def test_probe_of_a_wav_whose_notes_are_still_to_come_proves_nothing(path: Path) -> None:
    assert judged(path, riff(64, riff_bytes=500)) == UNKNOWN


@pytest.mark.parametrize("wrong_by", [-8, -1, 1, 8])
def test_probe_of_a_wav_that_miscounts_its_own_header_is_not_short(path: Path, wrong_by: int) -> None:
    right = len(riff(64)) - 8

    assert not isinstance(judged(path, riff(64, riff_bytes=right + wrong_by)), Short)


def test_probe_of_a_wav_that_was_cut_before_its_sound_is_short(path: Path) -> None:
    assert judged(path, riff(64)[:30]) == Short(len(riff(64)), 30)


def test_probe_of_an_ogg_without_the_flag_for_its_end_proves_nothing(library: dict[str, bytes], path: Path) -> None:
    """As every recording of Android's own writer is."""
    content = library["opus.ogg"]
    pages = content.split(b"OggS")
    without_last = b"OggS".join(pages[:-1])

    assert judged(path, content) == COMPLETE
    assert judged(path, without_last) == UNKNOWN


def test_probe_of_an_ogg_that_breaks_off_in_a_header_is_short(library: dict[str, bytes], path: Path) -> None:
    content = library["opus.ogg"]
    last_page = content.rindex(b"OggS")

    for cut in range(last_page + 5, last_page + 28):
        assert isinstance(judged(path, content[:cut]), Short), cut


def test_probe_of_an_mp4_without_index_is_short_however_its_content_ends(path: Path) -> None:
    """Recorders write the sound first, with a size of 0 (up to the end) or of question marks (Android)."""
    begin = struct.pack(">I4s4sI4s", 20, b"ftyp", b"M4A ", 0, b"M4A ")
    for head in (struct.pack(">I4s", 0, b"mdat"), struct.pack(">I4s8s", 1, b"mdat", b"????????")):
        assert judged(path, begin + head + b"\1" * 999) == Short(None, len(begin + head) + 999)


def test_probe_of_an_mp3_with_a_few_bytes_less_than_it_says_proves_nothing(
    library: dict[str, bytes], path: Path
) -> None:
    assert judged(path, library["xing.mp3"][:-1000]) == UNKNOWN


def test_probe_of_a_file_shorter_than_its_tag_is_short(path: Path) -> None:
    tag = b"ID3\x04\0\0" + bytes((0, 0, 40, 16)) + b"\1" * 100

    assert judged(path, tag) == Short(10 + 40 * 128 + 16, len(tag))


# --- what is not whole ------------------------------------------------------------------------------


@by_format
def test_probe_of_half_a_recording_says_what_can_be_proven(library: dict[str, bytes], path: Path, kind: Format) -> None:
    content = library[kind.name]
    verdict = judged(path, content[: len(content) // 2])

    assert isinstance(verdict, kind.half)
    if isinstance(verdict, Short):
        assert verdict.actual_bytes == len(content) // 2
        assert verdict.declared_bytes is None or len(content) // 2 < verdict.declared_bytes <= len(content)


@by_format
def test_probe_of_half_a_recording_filled_with_zeros_says_what_can_be_proven(
    library: dict[str, bytes], path: Path, kind: Format
) -> None:
    content = library[kind.name]
    half = len(content) // 2

    assert isinstance(judged(path, content[:half] + bytes(len(content) - half)), kind.filled)


@by_format
def test_probe_never_calls_a_cut_recording_complete(library: dict[str, bytes], path: Path, kind: Format) -> None:
    content = library[kind.name]
    verdicts = [judged(path, content[:cut]) for cut in places(content)]

    assert COMPLETE not in verdicts
    if kind.half is Short:
        shorts = sum(isinstance(verdict, Short) for verdict in verdicts)
        assert shorts > 0.6 * len(verdicts)


@by_format
def test_probe_never_calls_a_recording_filled_with_zeros_complete(
    library: dict[str, bytes], path: Path, kind: Format
) -> None:
    content = library[kind.name]
    for cut in places(content):
        if len(content) - cut >= 256:
            assert judged(path, content[:cut] + bytes(len(content) - cut)) != COMPLETE, cut


# --- garbage ----------------------------------------------------------------------------------------


def mutated(content: bytes, dice: random.Random) -> bytes:
    """Damage a recording: bytes, sizes, pieces moved, doubled or lost; heads most of all, as they are what is read."""
    damaged = bytearray(content[: dice.choice((200, 2000, 20_000, len(content)))])
    for _ in range(dice.randrange(1, 12)):
        place = dice.randrange(min(len(damaged), dice.choice((16, 64, 512, len(damaged)))) or 1)
        match dice.randrange(4):
            case 0:
                damaged[place : place + 1] = dice.randbytes(1)
            case 1:
                damaged[place : place + 4] = struct.pack(">I", dice.choice((0, 1, 7, 8, 2**31, 2**32 - 1)))
            case 2:
                del damaged[place : place + dice.randrange(40)]
            case _:
                damaged[place:place] = damaged[place : place + dice.randrange(400)]
    return bytes(damaged)


@by_format
def test_probe_of_mutated_recordings_answers_whatever_it_reads(
    library: dict[str, bytes], path: Path, kind: Format
) -> None:
    dice = random.Random(kind.name)
    for _ in range(MUTATIONS // len(FORMATS) + 1):
        assert isinstance(judged(path, mutated(library[kind.name], dice)), Complete | Short | Unknown)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"R",
        b"RIFF",
        b"just text, nothing more\n" * 99,
        bytes(100_000),
        b"\xff" * 100_000,
        b"OggS" * 30_000,
        b"OggS\0" * 30_000,
        b"ID3\x04\0\0\0\0\0\0" * 20_000,
        b"fLaC" + bytes(60_000),
        struct.pack(">I4s", 8, b"free") * 100_000,
        b"RIFF\xf0\xff\xff\xffWAVE" + b"junk\0\0\0\0" * 100_000,
        b"\x1a\x45\xdf\xa3\x80" + b"\xec\x80" * 100_000,
        b"fLaC" + b"\1\0\0\0" * 50_000,
    ],
    ids=lambda content: repr(content[:12]),
)
def test_probe_of_what_is_no_recording_ends_without_a_verdict_of_completeness(path: Path, content: bytes) -> None:
    assert judged(path, content) != COMPLETE


def test_probe_reads_a_bounded_part_of_a_file_of_any_size(path: Path) -> None:
    """A sparse terabyte, with the longest way to each verdict; what is read is counted by the kernel."""
    heads = (
        b"OggS\0",
        b"fLaC\x80\0\0\x22" + b"\1" * 34,
        struct.pack(">I4s", 8, b"free") * 9000,
        b"ID3\4\0\0\0\0\0\0" * 99,
    )
    for head in heads:
        path.write_bytes(head)
        os.truncate(path, 1 << 40)
        descriptor = os.open(path, os.O_RDONLY)
        before = _read_bytes()
        probe(descriptor, 1 << 40)
        assert _read_bytes() - before <= BUDGET_BYTES + 10_000
        os.close(descriptor)


def _read_bytes() -> int:
    """How many bytes this process has asked the kernel for (proc(5), rchar)."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_probe_leaves_the_position_of_the_file_alone(library: dict[str, bytes], path: Path) -> None:
    path.write_bytes(library["a.flac"])
    descriptor = os.open(path, os.O_RDONLY)
    os.lseek(descriptor, 7, os.SEEK_SET)
    probe(descriptor, len(library["a.flac"]))
    assert os.lseek(descriptor, 0, os.SEEK_CUR) == 7
    os.close(descriptor)
