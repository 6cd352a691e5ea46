from __future__ import annotations

import functools
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from cesar_watch.core.errors import AttemptError, CesarError, RecordingError
from cesar_watch.speech.audio import open_audio
from tests.sounds import RATE, Samples, conversation, encode, silence, voice, write_wav

pytestmark = pytest.mark.usefixtures("little_garbage")

SECONDS = 12
FORMATS = [
    ("a.mp3", "libmp3lame", RATE),
    ("a.m4a", "aac", RATE),
    ("a.flac", "flac", RATE),
    ("a.opus", "libopus", 48_000),
    ("a.webm", "libopus", 48_000),
    ("a.aiff", "pcm_s16be", RATE),
    ("a.aac", "aac", RATE),
    ("a.caf", "pcm_s16le", RATE),
]


@pytest.fixture(scope="module")
def sound() -> Samples:
    return conversation(SECONDS // 4)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, sound: Samples) -> Path:
    """A folder with the sound in every format; tests that damage a recording take a copy."""
    folder = tmp_path_factory.mktemp("recordings")
    write_wav(folder / "a.wav", sound)
    for name, codec, rate in [*FORMATS, ("a.ts", "aac", RATE), ("muxed.wav", "pcm_s16le", RATE)]:
        encode(folder / name, sound, codec, rate=rate)
    return folder


def read(path: Path, start_sample: int = 0, *, max_duration_s: float = 3600.0) -> Samples:
    with open_audio(path, max_duration_s=max_duration_s) as audio:
        return np.concatenate([np.zeros(0, np.float32), *(block[0] for block in audio.blocks(start_sample))])


@functools.cache
def read_once(path: Path) -> Samples:
    return read(path)


def declared(path: Path) -> float | None:
    with open_audio(path, max_duration_s=3600) as audio:
        return audio.declared_s


def refusal(path: Path, *, max_duration_s: float = 3600.0) -> CesarError:
    with pytest.raises(CesarError) as raised:
        read(path, max_duration_s=max_duration_s)
    return raised.value


def half(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


@pytest.mark.parametrize("name", [name for name, _, _ in FORMATS])
def test_audio_of_a_common_format_comes_whole(recordings: Path, sound: Samples, name: str) -> None:
    heard = read_once(recordings / name)
    assert heard.dtype == np.float32
    assert len(heard) == pytest.approx(len(sound), abs=0.2 * RATE)
    assert np.abs(heard).max() == pytest.approx(0.3, abs=0.1)


def test_audio_of_a_wav_is_the_sound_itself(recordings: Path, sound: Samples) -> None:
    path = recordings / "a.wav"
    assert np.allclose(read_once(path), sound, atol=1e-4)
    assert declared(path) == SECONDS


@pytest.mark.parametrize("start_sample", [1, 16_000, 123_457, SECONDS * RATE - 1, SECONDS * RATE])
@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.m4a"])
def test_audio_resumed_at_any_sample_is_the_rest_of_the_same_sound(
    recordings: Path, name: str, start_sample: int
) -> None:
    path = recordings / name
    assert np.array_equal(read(path, start_sample), read_once(path)[start_sample:])


@pytest.mark.parametrize("name", ["muxed.wav", "a.mp3", "a.flac", "a.webm", "a.aiff"])
def test_audio_cut_in_half_is_shorter_than_it_declares(
    tmp_path: Path, recordings: Path, sound: Samples, name: str
) -> None:
    path = half(Path(shutil.copy(recordings / name, tmp_path)))
    assert len(read(path)) < 0.8 * len(sound)
    assert declared(path) == pytest.approx(SECONDS, abs=0.2)


def test_audio_in_vbr_mp3_without_a_frame_count_declares_nothing(tmp_path: Path) -> None:
    # Silence first, noise after: FFmpeg guesses from the first frames' bit rate, and is far off.
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * RATE).astype(np.float32)
    sound = np.concatenate([silence(8), noise])
    bare = encode(tmp_path / "bare.mp3", sound, "libmp3lame", muxer={"write_xing": "0"})
    counted = encode(tmp_path / "counted.mp3", sound, "libmp3lame")
    assert declared(bare) is None
    assert declared(counted) == pytest.approx(12, abs=0.1)
    assert len(read(bare)) == pytest.approx(12 * RATE, abs=0.2 * RATE)


def test_audio_that_declares_no_length_has_a_guess_for_the_progress(tmp_path: Path, sound: Samples) -> None:
    bare = encode(tmp_path / "bare.mp3", sound, "libmp3lame", muxer={"write_xing": "0"})
    with open_audio(bare, max_duration_s=60) as audio:
        assert audio.declared_s is None
        assert audio.expected_s == pytest.approx(SECONDS, rel=0.2)


@pytest.mark.parametrize("size", [0, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
def test_audio_in_a_wav_whose_recorder_never_wrote_the_length_declares_nothing(tmp_path: Path, size: int) -> None:
    path = write_wav(tmp_path / "a.wav", voice(2))
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", size)
    path.write_bytes(content)
    assert declared(path) is None


def test_audio_in_a_float_wav_with_wild_numbers_stays_between_one_and_minus_one(tmp_path: Path) -> None:
    wild = np.tile(np.array([np.nan, np.inf, -np.inf, 1e38, -1e38, 0.5], "<f4"), 4000).tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(wild), b"WAVE", b"fmt ", 16, 3, 1, RATE, 4 * RATE, 4, 32)
    path = tmp_path / "a.wav"
    path.write_bytes(head + struct.pack("<4sI", b"data", len(wild)) + wild)
    heard = read(path)
    assert len(heard) == 24_000
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() <= 1
    assert declared(path) == 1.5


def test_audio_with_damaged_packets_skips_and_counts_them(tmp_path: Path, recordings: Path, sound: Samples) -> None:
    path = Path(shutil.copy(recordings / "a.m4a", tmp_path))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    path.write_bytes(content)
    with open_audio(path, max_duration_s=3600) as audio:
        samples = sum(block.shape[1] for block in audio.blocks())
        assert samples > 0.5 * len(sound)
        assert samples / RATE == audio.decoded_s
        assert audio.skipped_packets > 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty_file"),
        (b"Dear diary,\n" * 500, "not_media"),
        (b"ffconcat version 1.0\nfile other.wav\n", "not_media"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\nother.wav\n#EXT-X-ENDLIST\n", "not_media"),
        (b"\0" * 50_000, "not_media"),
    ],
)
def test_audio_in_something_else_is_refused_with_its_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    write_wav(tmp_path / "other.wav", voice(1))
    path = tmp_path / "talk.mp3"
    path.write_bytes(content)
    error = refusal(path)
    assert (type(error), error.reason) == (RecordingError, reason)
    assert "talk.mp3" in str(error)


def test_audio_named_like_a_protocol_is_only_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_wav(Path("a.wav"), voice(1))
    write_wav(Path("concat:a.wav|a.wav"), voice(2))
    assert len(read(Path("concat:a.wav|a.wav"))) == 2 * RATE


def test_audio_without_a_sample_is_refused(tmp_path: Path) -> None:
    error = refusal(write_wav(tmp_path / "a.wav", silence(0)))
    assert (type(error), error.reason) == (RecordingError, "nothing_decoded")


def test_audio_longer_than_allowed_is_refused_by_count(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", silence(11))
    assert refusal(path, max_duration_s=10).reason == "too_long"
    assert len(read(path, max_duration_s=11)) == 11 * RATE


def test_audio_at_one_sample_a_second_is_refused(tmp_path: Path) -> None:
    assert refusal(write_wav(tmp_path / "bomb.wav", silence(0.3), rate=1)).reason == "unsupported_rate"


def test_audio_of_a_video_without_sound_is_refused(tmp_path: Path) -> None:
    import av

    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    assert refusal(path).reason == "no_audio"


def test_audio_that_is_gone_may_be_there_later(tmp_path: Path) -> None:
    error = refusal(tmp_path / "gone.wav")
    assert (type(error), error.reason) == (AttemptError, "source_unreadable")


def test_audio_behind_a_link_a_pipe_or_a_folder_is_not_opened(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", voice(1))
    (tmp_path / "link.wav").symlink_to("a.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    assert refusal(tmp_path / "link.wav").reason == "source_unreadable"
    assert refusal(tmp_path / "pipe.wav").reason == "not_media"
    assert refusal(tmp_path).reason == "not_media"


def test_audio_left_early_or_refused_leaves_no_file_open(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", voice(5))
    bad = tmp_path / "bad.mp3"
    bad.write_bytes(b"no")
    before = set(os.listdir("/proc/self/fd"))
    refusal(bad)
    with open_audio(path, max_duration_s=3600) as audio:
        next(audio.blocks())
    assert set(os.listdir("/proc/self/fd")) == before
