"""FFmpeg reads back every subtitle and lyric that we write: a witness who knows nothing of our code."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator

import av
from hypothesis import given

from cesar_watch.core.recording_settings import Format
from cesar_watch.core.transcript import Transcript
from cesar_watch.delivery.formats import render
from cesar_watch.delivery.formats.about import Style
from cesar_watch.delivery.formats.cues import cues
from cesar_watch.delivery.formats.pieces import text_of
from cesar_watch.delivery.formats.plain import label_of
from tests.builders import make_about
from tests.transcripts import TRANSCRIPTS

Shown = tuple[int, int, str]


def read_back(transcript: Transcript, fmt: Format, demuxer: str, *, highlight_words: bool = False) -> Iterator[Shown]:
    """Yield start and end in milliseconds, and the payload, of what FFmpeg finds."""
    content = b"".join(render(transcript, fmt, make_about(), Style(highlight_words=highlight_words)))
    if not content:
        return
    with av.open(io.BytesIO(content), "r", format=demuxer) as file:
        for packet in file.demux():
            if packet.pts is None or packet.time_base is None:
                continue  # the end
            start, end = (int(at * packet.time_base * 1000) for at in (packet.pts, packet.pts + (packet.duration or 0)))
            yield start, end, bytes(packet).decode()


def expected(transcript: Transcript) -> list[Shown]:
    return [
        (cue.start_ms, cue.end_ms, label_of(cue.speaker) + "\n".join(map(text_of, cue.lines)))
        for cue in cues(transcript)
    ]


def without_markup(payload: str) -> str:
    voice = re.match(r"<v ([^>]*)>", payload)
    label = f"{voice.group(1)}: " if voice else ""
    return html.unescape(label + re.sub(r"<[^>]*>", "", payload))


@given(TRANSCRIPTS)
def test_srt_is_read_back_as_it_was_made(transcript: Transcript) -> None:
    made = [(start, end, text.replace("-->", "->")) for start, end, text in expected(transcript)]

    assert list(read_back(transcript, "srt", "srt")) == made


@given(TRANSCRIPTS)
def test_vtt_is_read_back_as_it_was_made(transcript: Transcript) -> None:
    for highlight in (False, True):
        found = read_back(transcript, "vtt", "webvtt", highlight_words=highlight)

        assert [(start, end, without_markup(text)) for start, end, text in found] == expected(transcript)


@given(TRANSCRIPTS)
def test_lrc_is_read_back_as_it_was_made(transcript: Transcript) -> None:
    found = [(start, text.rstrip("\n")) for start, _, text in read_back(transcript, "lrc", "lrc")]

    assert [line for line in found if line[1]] == [
        (cue.start_ms // 10 * 10, label_of(cue.speaker) + text_of(cue.pieces)) for cue in cues(transcript)
    ]
