"""Recordings that are odd, damaged or made to do harm: heard as far as possible, or refused with the reason."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from cesar_watch.core.errors import RecordingError
from cesar_watch.speech.audio import open_audio
from cesar_watch.speech.quality import missing_s
from tests.bombs import hollow_wav, lying_wav, silent_flac, silent_opus
from tests.corpus import FORMATS, Format, Missing, build
from tests.media import Track, cover, pitch, tone, tones, write_media
from tests.soak.nursery import Nursery, Request, nursery
from tests.sounds import RATE, Samples, encode, silence, write_wav

pytestmark = pytest.mark.usefixtures("little_garbage")

MEMORY_BYTES = 256 << 20
"""What decoding may hold at most, with the 90 MB of the libraries."""
AT_HEADER = {"empty_file", "not_media", "no_audio", "unsupported_codec", "nothing_decoded"}


def read(path: Path, *, max_duration_s: float = 3600.0) -> Samples:
    with open_audio(path, max_duration_s=max_duration_s) as audio:
        return np.concatenate([block[0] for block in audio.blocks()])


def declared(path: Path) -> float | None:
    with open_audio(path, max_duration_s=3600) as audio:
        return audio.declared_s


def refusal(path: Path) -> RecordingError:
    with pytest.raises(RecordingError) as raised:
        read(path)
    return raised.value


def halves(sound: Samples) -> list[float]:
    """The pitches before and behind the middle, far from it."""
    middle, margin = len(sound) // 2, RATE // 2
    return [round(pitch(sound[: middle - margin])), round(pitch(sound[middle + margin :]))]


@pytest.fixture(scope="module")
def children() -> Iterator[Nursery]:
    with nursery() as children:
        yield children


# --- other rates and channels midway ----------------------------------------------------------------


@pytest.mark.parametrize("channels", [(1, 1), (1, 2), (2, 1)], ids=["mono", "mono, stereo", "stereo, mono"])
@pytest.mark.parametrize(
    ("name", "codec", "rates"),
    [
        ("a.mp3", "libmp3lame", (44_100, 16_000)),
        ("a.mp3", "libmp3lame", (16_000, 48_000)),
        ("a.mp2", "mp2", (48_000, 32_000)),
        ("a.aac", "aac", (16_000, 44_100)),
        ("a.ac3", "ac3", (48_000, 32_000)),
        ("a.ts", "aac", (44_100, 16_000)),
        ("a.opus", "libopus", (48_000, 48_000)),
        ("a.oga", "flac", (16_000, 48_000)),
        ("a.oga", "flac", (44_100, 16_000)),
    ],
)
def test_recordings_one_behind_the_other_are_heard_to_the_end(
    tmp_path: Path, name: str, codec: str, rates: tuple[int, int], channels: tuple[int, int]
) -> None:
    both = tmp_path / f"both-{name}"
    with both.open("wb") as stream:
        for rate, count, hz in zip(rates, channels, (300, 500), strict=True):
            sound = np.tile(tone(hz, 10), (count, 1))
            stream.write(write_media(tmp_path / name, [Track(sound, codec, rate)]).read_bytes())
    with open_audio(both, max_duration_s=3600) as audio:
        sound = np.concatenate([block[0] for block in audio.blocks()])
        assert halves(sound) == [300, 500]
        assert audio.decoded_s == pytest.approx(20, abs=0.3)
        assert missing_s(audio.decoded_s, audio.declared_s) == 0


def test_link_of_an_ogg_that_is_damaged_is_skipped_and_counted(tmp_path: Path) -> None:
    links = [encode(tmp_path / "a.opus", tone(hz, 4), "libopus", rate=48_000).read_bytes() for hz in (300, 400, 500)]
    links[1] = links[1][:28] + b"?" * 40 + links[1][68:]
    both = tmp_path / "both.opus"
    both.write_bytes(b"".join(links))
    with open_audio(both, max_duration_s=3600) as audio:
        sound = np.concatenate([block[0] for block in audio.blocks()])
        assert audio.skipped_packets
    assert halves(sound) == [300, 500]


def test_length_of_mp3s_one_behind_the_other_is_not_guessed(tmp_path: Path) -> None:
    # FFmpeg divides the size of both by the bit rate of the first.
    noise = np.random.default_rng(0).normal(0, 0.1, 20 * RATE).astype(np.float32)
    quiet = write_media(tmp_path / "a.mp3", [Track(silence(20)[None], "libmp3lame", 16_000)])
    loud = write_media(tmp_path / "b.mp3", [Track(np.stack([noise, noise]), "libmp3lame", 48_000)])
    both = tmp_path / "both.mp3"
    both.write_bytes(quiet.read_bytes() + loud.read_bytes())

    assert declared(both) == pytest.approx(20, abs=0.2)
    assert len(read(both)) == pytest.approx(40 * RATE, rel=0.01)


# --- pictures, with sound and without ---------------------------------------------------------------

VIDEOS = [
    ("a.mp4", "mpeg4", "aac", 44_100),
    ("a.mov", "mpeg4", "pcm_s16le", 48_000),
    ("a.mkv", "libx264", "aac", 48_000),
    ("a.webm", "libvpx", "libopus", 48_000),
    ("a.avi", "mpeg4", "libmp3lame", 44_100),
    ("a.flv", "flv", "libmp3lame", 44_100),
    ("a.ts", "mpeg2video", "mp2", 48_000),
]


@pytest.mark.parametrize(("name", "picture", "codec", "rate"), VIDEOS)
def test_video_is_heard(tmp_path: Path, name: str, picture: str, codec: str, rate: int) -> None:
    sound = read(write_media(tmp_path / name, [Track(tones(300, 300), codec, rate)], picture=picture))

    assert round(pitch(sound)) == 300
    assert len(sound) == pytest.approx(2 * RATE, abs=0.1 * RATE)


@pytest.mark.parametrize(("name", "picture", "codec", "rate"), VIDEOS)
def test_video_without_sound_is_refused(tmp_path: Path, name: str, picture: str, codec: str, rate: int) -> None:
    assert refusal(write_media(tmp_path / name, [], picture=picture)).reason == "no_audio"


# --- nothing in it, or not all ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "codec", "rate", "reason"),
    [
        ("wav", "pcm_s16le", 16_000, "nothing_decoded"),
        ("w64", "pcm_s16le", 16_000, "not_media"),
        ("aiff", "pcm_s16be", 16_000, "nothing_decoded"),
        ("caf", "pcm_s16be", 16_000, "nothing_decoded"),
        ("au", "pcm_s16be", 16_000, "not_media"),
        ("flac", "flac", 16_000, "nothing_decoded"),
        ("mp3", "libmp3lame", 16_000, "not_media"),
        ("adts", "aac", 16_000, "empty_file"),
        ("ogg", "libopus", 48_000, "not_media"),
        ("mp4", "aac", 16_000, "no_audio"),
        ("mov", "pcm_s16le", 16_000, "no_audio"),
        ("3gp", "aac", 16_000, "no_audio"),
        ("matroska", "aac", 16_000, "not_media"),
        ("webm", "libopus", 48_000, "not_media"),
        ("avi", "pcm_s16le", 16_000, "nothing_decoded"),
        ("flv", "aac", 44_100, "nothing_decoded"),
        ("amr", "libopencore_amrnb", 8_000, "nothing_decoded"),
        ("tta", "tta", 16_000, "not_media"),
        ("wv", "wavpack", 16_000, "not_media"),
    ],
)
def test_container_with_nothing_in_it_is_refused(tmp_path: Path, kind: str, codec: str, rate: int, reason: str) -> None:
    path = tmp_path / "empty"
    with av.open(str(path), "w", format=kind) as container:
        container.add_stream(codec, rate=rate, layout="mono")
        container.start_encoding()

    assert refusal(path).reason == reason


@pytest.mark.parametrize("kind", FORMATS, ids=lambda one: one.name)
def test_recording_cut_anywhere_is_heard_so_far_or_refused(tmp_path: Path, kind: Format) -> None:
    try:
        whole = build(kind, tmp_path)
    except Missing as fault:
        pytest.skip(str(fault))
    path = tmp_path / "cut"
    for length in (1, 40, len(whole) // 20, len(whole) // 3, len(whole) - 1):
        path.write_bytes(whole[:length])
        try:
            sound = read(path)
        except RecordingError as fault:
            assert fault.reason in AT_HEADER
        else:
            assert 0 < len(sound) <= 31 * RATE or kind.by == "bundled"


def with_64_bit_duration(content: bytes, duration: int) -> bytes:
    """A MOV whose track tells this length, in the second version of its box."""
    at = content.index(b"mdhd") - 4
    (rate,) = struct.unpack_from(">I", content, at + 20)
    longer = (
        content[:at] + struct.pack(">I4sIQQIqI", 44, b"mdhd", 1 << 24, 0, 0, rate, duration, 0) + content[at + 32 :]
    )
    for kind in (b"moov", b"trak", b"mdia"):
        place = longer.rindex(kind, 0, at) - 4
        longer = (
            longer[:place] + struct.pack(">I", struct.unpack_from(">I", longer, place)[0] + 12) + longer[place + 4 :]
        )
    return longer


@pytest.mark.parametrize(("duration", "expected"), [(32_000, 2), (-5, None)])
def test_length_below_zero_counts_as_not_told(tmp_path: Path, duration: int, expected: float | None) -> None:
    path = write_media(tmp_path / "a.mov", [Track(tones(300), "pcm_s16le")])
    path.write_bytes(with_64_bit_duration(path.read_bytes(), duration))

    assert declared(path) == expected
    assert len(read(path)) == 2 * RATE


# --- too much of it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1, 100, 1_999, 768_001, 1_000_000_000])
def test_rate_at_which_nobody_speaks_is_refused_naming_it(tmp_path: Path, rate: int) -> None:
    error = refusal(write_wav(tmp_path / "a.wav", silence(1), rate=rate))

    assert error.reason == "unsupported_rate"
    assert f" {rate} samples a second" in str(error)


@pytest.mark.parametrize("rate", [2_000, 768_000])
def test_rate_at_the_edge_is_heard(tmp_path: Path, rate: int) -> None:
    seconds = len(silence(1)) / rate

    assert len(read(write_wav(tmp_path / "a.wav", silence(1), rate=rate))) == pytest.approx(seconds * RATE, abs=20)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_eight_channels_at_192_khz_are_heard_in_little_memory(tmp_path: Path, children: Nursery, name: str) -> None:
    codec = {"a.wav": "pcm_s32le", "a.flac": "flac"}[name]
    path = write_media(tmp_path / name, [Track(tones(*range(200, 1000, 100), seconds=5), codec, 192_000, "7.1")])
    ending = children.ending(Request(str(path), "split"))

    assert (ending.how, round(ending.decoded_s, 1)) == ("decoded", 5.0)
    assert ending.peak_bytes < MEMORY_BYTES


@pytest.mark.parametrize(
    ("make", "most_bytes"),
    [
        (lambda path: silent_flac(path, 4000), 2_000),
        (lambda path: silent_opus(path, 4000), 150_000),
        (lambda path: hollow_wav(path, 4000), 4_096),
        (lying_wav, 2_000),
    ],
    ids=["flac", "opus", "wav with a hole", "wav that lies"],
)
def test_small_file_that_decodes_to_an_hour_ends_at_the_limit_in_little_memory(
    tmp_path: Path, children: Nursery, make: Callable[[Path], Path], most_bytes: int
) -> None:
    path = make(tmp_path / "bomb")
    ending = children.ending(Request(str(path), max_duration_s=3600))

    assert path.stat().st_blocks * 512 <= most_bytes + 4096  # a disk counts in blocks
    assert (ending.how, ending.reason) == ("refused", "too_long")
    assert ending.peak_bytes < MEMORY_BYTES


def test_recording_whose_header_says_that_it_is_too_long_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", silence(11))
    with pytest.raises(RecordingError) as raised:
        open_audio(path, max_duration_s=10)

    assert raised.value.reason == "too_long"


def mkv_of_one_packet(path: Path, size_bytes: int) -> Path:
    """A Matroska with one block of 8-bit sound at 16 kHz, which is a hole on the disk (RFC 9559)."""

    def size(number: int) -> bytes:
        return struct.pack(">Q", number | 1 << 56)

    def element(kind: str, content: bytes) -> bytes:
        return bytes.fromhex(kind) + size(len(content)) + content

    audio = element("e1", element("b5", struct.pack(">d", RATE)) + element("9f", b"\1") + element("6264", b"\x08"))
    named = element("d7", b"\1") + element("73c5", b"\1") + element("83", b"\2") + element("86", b"A_PCM/INT/LIT")
    tracks = element("1654ae6b", element("ae", named + audio))
    block = bytes.fromhex("a3") + size(4 + size_bytes) + b"\x81\0\0\x80"
    cluster = bytes.fromhex("1f43b675") + size(len(block) + 10 + size_bytes) + element("e7", b"\0") + b"" + block
    head = element("1a45dfa3", element("4282", b"matroska"))
    path.write_bytes(
        head + bytes.fromhex("18538067") + size(len(tracks) + len(cluster) + size_bytes) + tracks + cluster
    )
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size + size_bytes)
    return path


def test_cover_art_that_unfolds_to_a_gigabyte_stays_folded(tmp_path: Path, children: Nursery) -> None:
    path = encode(tmp_path / "a.mp3", tone(300), "libmp3lame")
    path.write_bytes(cover(16_000, 16_000) + path.read_bytes())
    ending = children.ending(Request(str(path)))

    assert (ending.how, round(ending.decoded_s)) == ("decoded", 2)
    assert ending.peak_bytes < MEMORY_BYTES


def test_packet_of_a_size_that_no_encoder_writes_is_left_out(tmp_path: Path, children: Nursery) -> None:
    small = children.ending(Request(str(mkv_of_one_packet(tmp_path / "small.mkv", 1_000_000))))
    large = children.ending(Request(str(mkv_of_one_packet(tmp_path / "large.mkv", 50_000_000))))

    assert (small.how, small.decoded_s) == ("decoded", 62.5)
    assert (large.how, large.reason) == ("refused", "nothing_decoded")
    assert large.peak_bytes < MEMORY_BYTES
