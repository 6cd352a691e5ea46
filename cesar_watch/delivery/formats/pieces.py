"""The pieces that lines of subtitles are made of: words with their times, long ones in parts.

Scripts without spaces need the parts: there a "word" may be a whole sentence.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from cesar_watch.core.transcript import Segment
from cesar_watch.delivery.formats.plain import milliseconds, one_line

WHOLE_COLUMNS = 21
"""A word that takes no more, half a line of subtitles, has only one part; no part takes more."""

_STOPS = "、。，！？；：…,.!?;:"  # noqa: RUF001 (full-width marks are meant)
_WORD = re.compile(r"\S+")
_PARTS = re.compile(rf"[^\s{_STOPS}]{{1,5}}[{_STOPS}]{{0,2}}|[{_STOPS}]{{1,5}}")


@dataclass(frozen=True)
class Piece:
    """A word, or a part of a long one.

    `is_spaced`: a space goes before it, unless it begins a line. `begins_word`: it is not a later part of a word.
    `is_timed`: its word was timed by itself, and has not merely its share of the segment's time.
    """

    text: str
    start_ms: int
    end_ms: int
    is_spaced: bool
    begins_word: bool
    is_timed: bool


def pieces_of(segment: Segment) -> list[Piece]:
    """Return a segment's pieces in the order of its text; none begins before its predecessor, or ends before it begins.

    Together they read as the segment does. Where its words tell another story than its text, the text counts.
    """
    ordered: list[Piece] = []
    for piece in _pieces(segment):
        start_ms = max(piece.start_ms, ordered[-1].start_ms if ordered else 0)
        # Between segments there is always a space, as in `Transcript.text`.
        is_spaced = piece.is_spaced or not ordered
        ordered.append(replace(piece, start_ms=start_ms, end_ms=max(start_ms, piece.end_ms), is_spaced=is_spaced))
    return ordered


def text_of(pieces: Iterable[Piece]) -> str:
    """Return the line that pieces make."""
    return "".join(f" {piece.text}" if piece.is_spaced else piece.text for piece in pieces).strip()


def columns(text: str) -> int:
    """Return how wide text is shown: full-width characters take two columns (Unicode, UAX 11)."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _pieces(segment: Segment) -> Iterator[Piece]:
    joined = "".join(word.text for word in segment.words)
    if "".join(joined.split()) != "".join(segment.text.split()):
        yield from _share_out(segment.start_s, segment.end_s, segment.text, is_timed=False)
        return
    # Words carry their own leading space, or none of them does: only the segment's text can tell.
    gap = "" if one_line(joined) == one_line(segment.text) else " "
    for word in segment.words:
        yield from _share_out(word.start_s, word.end_s, gap + word.text, is_timed=True)


def _share_out(start_s: float, end_s: float, text: str, *, is_timed: bool) -> Iterator[Piece]:
    """Cut at spaces, and inside long words; time is shared out by characters."""
    is_spaced, text = text[:1].isspace(), text.strip()
    character_s = (end_s - start_s) / max(len(text), 1)
    for word in _WORD.finditer(text):
        pattern = _WORD if columns(word.group()) <= WHOLE_COLUMNS else _PARTS
        for part in pattern.finditer(text, word.start(), word.end()):
            begins_word = part.start() == word.start()
            yield Piece(
                text=part.group(),
                start_ms=milliseconds(start_s + part.start() * character_s),
                end_ms=milliseconds(start_s + part.end() * character_s),
                is_spaced=begins_word and (is_spaced or word.start() > 0),
                begins_word=begins_word,
                is_timed=is_timed,
            )
