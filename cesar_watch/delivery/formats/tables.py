"""Tables for programs: json, with every figure there is, and tsv. docs/formats.md tells what each field means."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from cesar_watch.core.transcript import Segment, Transcript, Window, Word
from cesar_watch.delivery.formats.plain import milliseconds, one_line, speaker_of, spoken

SCHEMA = 1
"""Goes up when a field changes its meaning or goes, not when one is added."""


def json_text(transcript: Transcript) -> Iterator[str]:
    """Yield all that is known of what was said, piece by piece. Times are seconds, to the millisecond."""
    whole = {
        "schema": SCHEMA,
        "text": transcript.text,
        "language": transcript.language,
        "language_probability": transcript.language_probability,
        "duration_s": _seconds(transcript.duration_s),
        "declared_s": None if transcript.declared_s is None else _seconds(transcript.declared_s),
        "speech_s": _seconds(transcript.speech_s),
        "skipped_packets": transcript.skipped_packets,
    }
    yield _written(whole).removesuffix("\n}")
    yield from _array("segments", (_segment(number, segment) for number, segment in enumerate(transcript.segments)))
    yield from _array("windows", (_window(window) for window in transcript.windows))
    yield "\n}\n"


def tsv(transcript: Transcript) -> str:
    """Return a row for each segment, times in milliseconds; speakers in a fourth column where they are told apart."""
    rows = [("start", "end", "text", "speaker")]
    rows += [
        (str(milliseconds(one.start_s)), str(milliseconds(one.end_s)), one_line(one.text), speaker_of(one))
        for one in spoken(transcript.segments)
    ]
    width = 4 if any(speaker for *_, speaker in rows[1:]) else 3
    return "".join("\t".join(row[:width]) + "\n" for row in rows)


def _array(name: str, items: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield a further member of the outermost object, written as `json` would have written it."""
    yield f',\n "{name}": ['
    end = "]"
    for number, item in enumerate(items):
        # A line break is one of the layout: inside of strings they are escaped.
        yield ("," if number else "") + "\n  " + _written(item).replace("\n", "\n  ")
        end = "\n ]"
    yield end


def _written(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    return {
        "id": number,
        "start_s": _seconds(segment.start_s),
        "end_s": _seconds(segment.end_s),
        "speaker": segment.speaker,
        "text": segment.text.strip(),
        "avg_logprob": round(segment.avg_logprob, 4),
        "no_speech_prob": round(segment.no_speech_prob, 4),
        "compression_ratio": round(segment.compression_ratio, 4),
        "words": [_word(word) for word in segment.words],
    }


def _word(word: Word) -> dict[str, Any]:
    return {
        "start_s": _seconds(word.start_s),
        "end_s": _seconds(word.end_s),
        "text": word.text,
        "probability": round(word.probability, 4),
    }


def _window(window: Window) -> dict[str, Any]:
    return {
        "start_s": _seconds(window.start_s),
        "end_s": _seconds(window.end_s),
        "speech_s": _seconds(window.speech_s),
        "language": window.language,
        "language_probability": window.language_probability,
    }


def _seconds(seconds: float) -> float:
    return round(seconds, 3)
