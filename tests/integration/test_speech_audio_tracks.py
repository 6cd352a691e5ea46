"""Which sound of a recording is heard: of several tracks one, of several channels all, mixed or each by itself."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest
from av.container import OutputContainer

from cesar_watch.core.errors import RecordingError
from cesar_watch.speech.audio import open_audio
from cesar_watch.speech.vad import silero
from tests.media import Track, cover, pitch, tone, tones, write_media
from tests.sounds import RATE, Samples, encode, voice

pytestmark = pytest.mark.usefixtures("little_garbage")

Mode = Literal["mix", "split"]
SIX = tones(60, 80, 100, 40, 140, 160)
EIGHT = tones(60, 80, 100, 40, 140, 160, 180, 200)
"""Where a layout has a channel for low frequencies, it is the fourth."""


def read(path: Path, mode: Mode = "mix", *, track: int = 0, start_sample: int = 0) -> Samples:
    with open_audio(path, max_duration_s=3600, track=track, channels=mode) as audio:
        blocks = list(audio.blocks(start_sample))
        assert {len(block) for block in blocks} == {audio.channels}
        return np.concatenate(blocks, axis=1)


def refusal(path: Path, mode: Mode = "mix", *, track: int = 0) -> RecordingError:
    with pytest.raises(RecordingError) as raised:
        read(path, mode, track=track)
    return raised.value


def pitches(sound: Samples) -> list[float]:
    return [round(pitch(row)) for row in sound]


def speech_s(sound: Samples) -> float:
    return sum(span.end - span.start for span in silero(sound)) / RATE


def wav(path: Path, sound: Samples, *, mask: int | None = None) -> Path:
    """16-bit PCM with any number of channels; with a mask, which names them, the extensible header."""
    count = len(sound)
    plain = struct.pack("<HHIIHH", 1, count, RATE, 2 * RATE * count, 2 * count, 16)
    pcm = bytes.fromhex("0100000000001000800000aa00389b71")
    head = plain if mask is None else b"\xfe\xff" + plain[2:] + struct.pack("<HHI", 22, 16, mask) + pcm
    data = (np.clip(sound.T, -1, 1) * 32767).astype("<i2").tobytes()
    rest = b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(rest)) + rest)
    return path


def caf(path: Path, sound: Samples, labels: list[int]) -> Path:
    """PCM whose channels are named one by one (Apple, "Core Audio Format Specification", Channel Layout chunk)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return kind + struct.pack(">q", len(content)) + content

    count = len(sound)
    described = struct.pack(">d4sIIIII", float(RATE), b"lpcm", 0, 2 * count, 1, count, 16)
    named = b"".join(struct.pack(">IIfff", label, 0, 0, 0, 0) for label in labels)
    parts = (
        chunk(b"desc", described),
        chunk(b"chan", struct.pack(">III", 0, 0, count) + named),
        chunk(b"data", bytes(4) + (sound.T * 32767).astype(">i2").tobytes()),
    )
    path.write_bytes(b"caff\0\1\0\0" + b"".join(parts))
    return path


# --- tracks -----------------------------------------------------------------------------------------


def three(path: Path, *, default: int) -> Path:
    tracks = [Track(tones(hz), is_default=number == default) for number, hz in enumerate((200, 400, 600), 1)]
    return write_media(path, tracks, picture="mpeg4")


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.mov"])
@pytest.mark.parametrize("default", [1, 2, 3])
def test_track_that_the_recording_marks_as_default_is_heard(tmp_path: Path, name: str, default: int) -> None:
    assert pitches(read(three(tmp_path / name, default=default))) == [200 * default]


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.avi", "a.ts"])
def test_track_heard_where_none_is_marked_is_the_first(tmp_path: Path, name: str) -> None:
    assert pitches(read(three(tmp_path / name, default=0))) == [200]


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
@pytest.mark.parametrize("track", [1, 2, 3])
def test_track_that_was_asked_for_is_heard_whatever_is_default(tmp_path: Path, name: str, track: int) -> None:
    assert pitches(read(three(tmp_path / name, default=2), track=track)) == [200 * track]


def test_track_beyond_the_last_is_refused_telling_how_many_there_are(tmp_path: Path) -> None:
    error = refusal(three(tmp_path / "a.mkv", default=1), track=4)

    assert error.reason == "no_such_track"
    assert "no audio track 4, only 3" in str(error)


@pytest.fixture
def strange_first(tmp_path: Path) -> Path:
    """A recording whose first track, the default one, is of a kind that nobody knows."""
    tracks = [Track(tones(200), "flac", is_default=True), Track(tones(400), "aac")]
    path = write_media(tmp_path / "a.mkv", tracks)
    path.write_bytes(path.read_bytes().replace(b"A_FLAC", b"A_FLEX"))
    return path


def test_track_that_nothing_here_decodes_is_passed_over(strange_first: Path) -> None:
    assert pitches(read(strange_first)) == [400]


def test_track_that_nothing_here_decodes_is_refused_when_asked_for(strange_first: Path) -> None:
    assert refusal(strange_first, track=1).reason == "unsupported_codec"


def test_recording_of_which_nothing_here_decodes_a_track_is_refused(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", [Track(tones(200), "flac")])
    path.write_bytes(path.read_bytes().replace(b"A_FLAC", b"A_FLEX"))

    assert refusal(path).reason == "unsupported_codec"


def test_cover_art_before_the_sound_does_not_disturb(tmp_path: Path) -> None:
    plain = encode(tmp_path / "plain.mp3", tone(300), "libmp3lame")
    path = tmp_path / "covered.mp3"
    path.write_bytes(cover(32, 32) + plain.read_bytes())

    assert av.open(str(path)).streams.video
    assert np.array_equal(read(path), read(plain))


def _adorn(container: OutputContainer) -> None:
    container.add_attachment("notes.txt", "text/plain", b"Who spoke when.")
    container.set_chapters([{"id": 1, "start": 0, "end": 1, "time_base": Fraction(1), "metadata": {"title": "All"}}])


def test_chapters_and_attachments_before_the_sound_do_not_disturb(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", [Track(tones(300), "flac")], adorn=_adorn)
    with av.open(str(path)) as container:
        assert (len(container.chapters()), len(container.streams.attachments)) == (1, 1)

    assert pitches(read(path)) == [300]


# --- channels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["mix", "split"])
def test_mono_has_one_row_in_either_mode(tmp_path: Path, mode: Mode) -> None:
    assert pitches(read(wav(tmp_path / "a.wav", tones(300)), mode)) == [300]


def test_stereo_split_is_left_and_right_sample_by_sample(tmp_path: Path) -> None:
    call = np.stack([voice(2, seed=1), voice(2, seed=2)])

    assert np.allclose(read(wav(tmp_path / "a.wav", call), "split"), call, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.mp3", "libmp3lame", 44_100),
        ("a.m4a", "aac", 44_100),
        ("a.opus", "libopus", 48_000),
        ("a.flac", "flac", 96_000),
        ("a.ts", "mp2", 48_000),
        ("a.mkv", "pcm_f32le", 48_000),
    ],
)
def test_stereo_split_of_a_common_format_is_left_and_right(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    path = write_media(tmp_path / name, [Track(tones(300, 500), codec, rate)])

    assert pitches(read(path, "split")) == [300, 500]


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout"),
    [
        ("a.flac", "flac", RATE, "5.1"),
        ("a.m4a", "aac", 48_000, "5.1"),
        ("a.ac3", "ac3", 48_000, "5.1"),
        ("a.opus", "libopus", 48_000, "5.1"),
        ("a.mov", "pcm_s16le", RATE, "5.1(side)"),
        ("b.flac", "flac", RATE, "7.1"),
        ("b.m4a", "aac", 48_000, "7.1"),
        ("b.opus", "libopus", 48_000, "7.1"),
        ("b.m4a", "alac", RATE, "7.1(wide)"),
        ("b.wv", "wavpack", RATE, "8 channels"),
    ],
)
def test_surround_sound_split_has_a_row_for_each_channel(
    tmp_path: Path, name: str, codec: str, rate: int, layout: str
) -> None:
    sound = SIX if layout.startswith("5") else EIGHT
    path = write_media(tmp_path / name, [Track(sound, codec, rate, layout)])

    assert sorted(pitches(read(path, "split"))) == sorted(pitches(sound))


@pytest.mark.parametrize("mask", [None, 0, 0xFF, 0x3])
@pytest.mark.parametrize("count", [3, 6, 8])
def test_wav_with_channels_of_any_name_or_none_has_a_row_for_each(tmp_path: Path, count: int, mask: int | None) -> None:
    sound = EIGHT[:count]

    assert pitches(read(wav(tmp_path / "a.wav", sound, mask=mask), "split")) == pitches(sound)


@pytest.mark.parametrize(
    "labels", [[2, 1], [42, 42], [0, 0], [0x10000, 0x10001]], ids=["right first", "mono twice", "unknown", "numbers"]
)
def test_channels_named_in_an_unusual_order_are_read(tmp_path: Path, labels: list[int]) -> None:
    path = caf(tmp_path / "a.caf", tones(300, 500), labels)

    assert pitches(read(path, "split")) == [300, 500]


def test_more_channels_than_are_split_are_refused_naming_the_mix(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", tones(*range(100, 1000, 100)))
    error = refusal(path, "split")

    assert error.reason == "too_many_channels"
    assert 'engine.channels = "mix"' in str(error)


@pytest.mark.parametrize("count", [9, 16, 64])
def test_mix_of_many_channels_has_each_of_them(tmp_path: Path, count: int) -> None:
    for last in (0, count - 1):
        sound = np.zeros((count, 2 * RATE), np.float32)
        sound[last] = tone(300, loudness=0.9)
        mixed = read(wav(tmp_path / "a.wav", sound))
        assert pitches(mixed) == [300]
        assert np.abs(mixed).max() == pytest.approx(0.9 / count, rel=0.1)


def test_channels_that_no_decoder_takes_are_refused(tmp_path: Path) -> None:
    error = refusal(wav(tmp_path / "a.wav", np.zeros((100, 1000), np.float32)))

    assert error.reason == "too_many_channels"
    assert "mix" not in str(error)


@pytest.mark.parametrize("place", range(6))
def test_mix_of_surround_sound_loses_no_channel(tmp_path: Path, place: int) -> None:
    sound = np.zeros((6, 2 * RATE), np.float32)
    sound[place] = tone(100)
    path = write_media(tmp_path / "a.flac", [Track(sound, "flac", RATE, "5.1")])

    assert pitches(read(path)) == [100]


@pytest.mark.parametrize("count", [2, 8])
def test_voice_on_one_channel_of_many_is_speech_in_the_mix(tmp_path: Path, count: int) -> None:
    sound = np.zeros((count, 4 * RATE), np.float32)
    sound[-1] = voice(4)

    assert speech_s(read(wav(tmp_path / "a.wav", sound))[0]) > 0.8 * speech_s(voice(4))


@pytest.mark.parametrize(
    "written",
    [
        lambda folder, sound: wav(folder / "a.wav", sound),
        lambda folder, sound: write_media(folder / "a.mp3", [Track(sound, "libmp3lame", 44_100)]),
    ],
    ids=["wav", "mp3"],
)
def test_mix_of_a_recording_with_one_channel_inverted_keeps_the_voice(
    tmp_path: Path, written: Callable[[Path, Samples], Path]
) -> None:
    spoken = voice(4)
    mixed = read(written(tmp_path, np.stack([spoken, -spoken])))[0]

    assert np.abs(mixed).max() > 0.5 * np.abs(spoken).max()
    assert speech_s(mixed) > 0.8 * speech_s(spoken)


def test_mix_of_two_loud_channels_does_not_clip(tmp_path: Path) -> None:
    loud = np.stack([tone(300, loudness=1.0), tone(300, loudness=1.0)])
    mixed = read(wav(tmp_path / "a.wav", loud))[0]

    assert np.allclose(mixed, loud[0], atol=1e-3)


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        (tones(300, 500, seconds=20), tones(700, seconds=20), [[300, 500], [700, 0]]),
        (tones(700, seconds=20), tones(300, seconds=20).repeat(2, axis=0), [[700], [300]]),
    ],
    ids=["fewer", "more"],
)
def test_split_keeps_its_rows_where_the_number_of_channels_changes(
    tmp_path: Path, first: Samples, then: Samples, expected: list[list[float]]
) -> None:
    parts = [
        write_media(tmp_path / f"{number}.aac", [Track(sound, "aac", 48_000)]).read_bytes()
        for number, sound in enumerate((first, then))
    ]
    (tmp_path / "both.aac").write_bytes(b"".join(parts))
    sound = read(tmp_path / "both.aac", "split")
    half = sound.shape[1] // 2

    assert [pitches(sound[:, :half]), pitches(sound[:, half + RATE :])] == expected


@pytest.mark.parametrize("per_packet", [1, 129], ids=["packets as usual", "a packet a sample"])
def test_blocks_are_half_a_second_long_whatever_the_packets(tmp_path: Path, per_packet: int) -> None:
    path = caf(tmp_path / "a.caf", tones(300), [3])
    path.write_bytes(path.read_bytes().replace(struct.pack(">III", 2, 1, 1), struct.pack(">III", 2, per_packet, 1), 1))
    with open_audio(path, max_duration_s=3600) as audio:
        assert [block.shape for block in audio.blocks()] == [(1, RATE // 2)] * 4


@pytest.mark.parametrize("start_sample", [1, 12_345, 2 * RATE - 1])
@pytest.mark.parametrize("name", ["a.mp3", "a.flac"])
def test_split_resumed_at_any_sample_is_the_rest_of_the_same_sound(
    tmp_path: Path, name: str, start_sample: int
) -> None:
    codec = {"a.mp3": "libmp3lame", "a.flac": "flac"}[name]
    path = write_media(tmp_path / name, [Track(tones(300, 500), codec, 44_100)])

    assert np.array_equal(read(path, "split", start_sample=start_sample), read(path, "split")[:, start_sample:])
