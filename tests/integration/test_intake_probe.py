"""The probe against real recordings of many muxers: whole, cut anywhere, cut and filled with zeros, and mutated."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from cesar_watch.intake.probe import COMPLETE, UNKNOWN, Complete, Short, Unknown, Verdict, probe
from cesar_watch.intake.probe.verdict import BUDGET_BYTES
from cesar_watch.intake.probe.wide import ASF_MAGIC, W64_MAGIC
from tests.corpus import FORMATS, Format, Missing, build

MUTATIONS = 2000


by_format = pytest.mark.parametrize("kind", FORMATS, ids=lambda one: one.name)


class Library(dict[str, bytes]):
    """Every recording's bytes, by name; made when first asked for."""

    def __init__(self, folders: Callable[[str], Path]) -> None:
        super().__init__()
        self._folders = folders

    def __missing__(self, name: str) -> bytes:
        kind = next(one for one in FORMATS if one.name == name)
        try:
            made = self[name] = build(kind, self._folders(name))
        except Missing as fault:
            pytest.skip(str(fault))
        return made


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(tmp_path_factory.mktemp)


def judged(content: bytes) -> Verdict:
    descriptor = os.memfd_create("talk")
    try:
        os.pwrite(descriptor, content, 0)
        return probe(descriptor, len(content))
    finally:
        os.close(descriptor)


def places(content: bytes, count: int = 250) -> Iterable[int]:
    """Where to cut: evenly over the file, and at each byte of its first and last few."""
    evenly = (len(content) * step // count for step in range(count))
    return sorted({*evenly, *range(min(100, len(content))), *range(len(content) - 20, len(content))})


# --- whole recordings -------------------------------------------------------------------------------


@by_format
def test_probe_of_a_whole_recording_says_what_can_be_proven(library: Library, kind: Format) -> None:
    assert isinstance(judged(library[kind.name]), kind.whole)


@by_format
@pytest.mark.parametrize(
    "junk",
    [b"x", bytes(3), bytes(70_000), b"TAG" + bytes(125), b"APETAGEX" + bytes(24) + b"cover" * 999, b"\xff" * 700],
    ids=["byte", "pad", "zeros", "id3v1", "ape", "ones"],
)
def test_probe_never_calls_a_recording_with_something_behind_it_short(
    library: Library, kind: Format, junk: bytes
) -> None:
    assert not isinstance(judged(library[kind.name] + junk), Short)


@by_format
def test_probe_never_calls_a_recording_with_a_tag_in_front_short(library: Library, kind: Format) -> None:
    tag = b"ID3\x04\0\0" + bytes((0, 0, 40, 16)) + os.urandom(40 * 128 + 16)

    assert not isinstance(judged(tag + library[kind.name]), Short)


def riff(data_bytes: int, *, riff_bytes: int | None = None, behind: bytes = b"", sound: bytes = b"\1" * 64) -> bytes:
    """A WAV whose sizes are as a test wants them."""
    parts = b"WAVE" + b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8) + b"data"
    rest = struct.pack("<I", data_bytes) + sound + behind
    return b"RIFF" + struct.pack("<I", len(parts + rest) if riff_bytes is None else riff_bytes) + parts + rest


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFDB])
@pytest.mark.parametrize("both", [True, False])
def test_probe_of_a_wav_whose_writer_did_not_know_its_size_proves_nothing(size: int, both: bool) -> None:
    assert judged(riff(size, riff_bytes=size if both else None)) == UNKNOWN


def test_probe_of_a_wav_with_notes_behind_the_sound_is_complete() -> None:
    assert judged(riff(64, behind=b"LIST" + struct.pack("<I", 4) + b"INFO")) == COMPLETE


def test_probe_of_a_wav_whose_notes_are_still_to_come_proves_nothing() -> None:
    assert judged(riff(64, riff_bytes=500)) == UNKNOWN


@pytest.mark.parametrize("wrong_by", [-8, -1, 1, 8])
def test_probe_of_a_wav_that_miscounts_its_own_header_is_not_short(wrong_by: int) -> None:
    right = len(riff(64)) - 8

    assert not isinstance(judged(riff(64, riff_bytes=right + wrong_by)), Short)


def test_probe_of_a_wav_that_was_cut_before_its_sound_is_short() -> None:
    assert judged(riff(64)[:30]) == Short(len(riff(64)), 30)


def test_probe_of_an_ogg_without_the_flag_for_its_end_proves_nothing(library: Library) -> None:
    """As every recording of Android's own writer is."""
    content = library["opus.ogg"]
    pages = content.split(b"OggS")
    without_last = b"OggS".join(pages[:-1])

    assert judged(content) == COMPLETE
    assert judged(without_last) == UNKNOWN


def test_probe_of_an_ogg_that_breaks_off_in_a_header_is_short(library: Library) -> None:
    content = library["opus.ogg"]
    last_page = content.rindex(b"OggS")

    for cut in range(last_page + 5, last_page + 28):
        assert isinstance(judged(content[:cut]), Short), cut


def test_probe_of_an_mp4_without_index_is_short_however_its_content_ends() -> None:
    """Recorders write the sound first, with a size of 0 (up to the end) or of question marks (Android)."""
    begin = struct.pack(">I4s4sI4s", 20, b"ftyp", b"M4A ", 0, b"M4A ")
    for head in (struct.pack(">I4s", 0, b"mdat"), struct.pack(">I4s8s", 1, b"mdat", b"????????")):
        assert judged(begin + head + b"\1" * 999) == Short(None, len(begin + head) + 999)


def test_probe_of_an_mp3_with_a_few_bytes_less_than_it_says_proves_nothing(library: Library) -> None:
    assert judged(library["xing.mp3"][:-1000]) == UNKNOWN


def test_probe_of_a_file_shorter_than_its_tag_is_short() -> None:
    tag = b"ID3\x04\0\0" + bytes((0, 0, 40, 16)) + b"\1" * 100

    assert judged(tag) == Short(10 + 40 * 128 + 16, len(tag))


# --- what is not whole ------------------------------------------------------------------------------


@by_format
def test_probe_of_half_a_recording_says_what_can_be_proven(library: Library, kind: Format) -> None:
    content = library[kind.name]
    verdict = judged(content[: len(content) // 2])

    assert isinstance(verdict, kind.half)
    if isinstance(verdict, Short):
        assert verdict.actual_bytes == len(content) // 2
        assert verdict.declared_bytes is None or len(content) // 2 < verdict.declared_bytes <= len(content)


@by_format
def test_probe_of_half_a_recording_filled_with_zeros_says_what_can_be_proven(library: Library, kind: Format) -> None:
    content = library[kind.name]
    half = len(content) // 2

    assert isinstance(judged(content[:half] + bytes(len(content) - half)), kind.filled)


@by_format
def test_probe_never_calls_a_cut_recording_complete(library: Library, kind: Format) -> None:
    content = library[kind.name]
    sound_end = len(content) - kind.behind_bytes
    verdicts = [judged(content[:cut]) for cut in places(content) if cut < sound_end]

    assert COMPLETE not in verdicts
    if kind.half is Short:
        shorts = sum(isinstance(verdict, Short) for verdict in verdicts)
        assert shorts > 0.5 * len(verdicts)


@by_format
def test_probe_never_calls_a_recording_filled_with_zeros_complete(library: Library, kind: Format) -> None:
    content = library[kind.name]
    for cut in places(content):
        if len(content) - cut >= 256:
            assert judged(content[:cut] + bytes(len(content) - cut)) != COMPLETE, cut


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
def test_probe_of_mutated_recordings_answers_whatever_it_reads(library: Library, kind: Format) -> None:
    dice = random.Random(kind.name)
    for _ in range(MUTATIONS // len(FORMATS) + 1):
        assert isinstance(judged(mutated(library[kind.name], dice)), Complete | Short | Unknown)


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
        b"caff\0\1\0\0" + b"free" + bytes(8) + bytes(12) * 9000,
        b"caff\0\1\0\0" + b"data" + b"\xff" * 900,
        b".snd" + b"\xff" * 900,
        W64_MAGIC + bytes(24) + bytes(24) * 9000,
        ASF_MAGIC + b"\xff" * 900,
        ASF_MAGIC + struct.pack("<Q", 24) + (ASF_MAGIC + struct.pack("<Q", 24)) * 9000,
        b"fLaC" + b"\1\0\0\0" * 50_000,
    ],
    ids=lambda content: repr(content[:12]),
)
def test_probe_of_what_is_no_recording_ends_without_a_verdict_of_completeness(content: bytes) -> None:
    assert judged(content) != COMPLETE


def test_probe_reads_a_bounded_part_of_a_file_of_any_size(tmp_path: Path) -> None:
    """A sparse terabyte, with the longest way to each verdict; what is read is counted by the kernel."""
    heads = (
        b"OggS\0",
        b"fLaC\x80\0\0\x22" + b"\1" * 34,
        struct.pack(">I4s", 8, b"free") * 9000,
        b"ID3\4\0\0\0\0\0\0" * 99,
    )
    for head in heads:
        path = tmp_path / "talk"
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


def test_probe_leaves_the_position_of_the_file_alone(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "talk"
    path.write_bytes(library["a.flac"])
    descriptor = os.open(path, os.O_RDONLY)
    os.lseek(descriptor, 7, os.SEEK_SET)
    probe(descriptor, len(library["a.flac"]))
    assert os.lseek(descriptor, 0, os.SEEK_CUR) == 7
    os.close(descriptor)
