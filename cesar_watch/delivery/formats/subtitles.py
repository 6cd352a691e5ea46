"""Write subtitles down as SubRip (srt) and WebVTT (vtt).

Highlighting marks the word that is being spoken, where words have times. In SubRip, which knows no times inside a
subtitle, each state of it is an entry of its own with one word underlined, as in whisper's own files. WebVTT (section
4.2.2, cue timestamps) does know them; each word is a span there, since `:past` and `:future` select only spans.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator

from cesar_watch.core.transcript import Transcript
from cesar_watch.delivery.formats.cues import Cue, cues
from cesar_watch.delivery.formats.pieces import Piece
from cesar_watch.delivery.formats.plain import clock, label_of

_STYLE = "\nSTYLE\n::cue(c:future) {\n  opacity: 0.5;\n}\n"
"""Words to come are pale; players that can't do that pass over it."""


def srt(transcript: Transcript, *, highlight_words: bool) -> str:
    """Return the transcript as SubRip subtitles."""
    entries = (entry for cue in cues(transcript) for entry in _entries(cue, highlight_words=highlight_words))
    return "\n".join(
        f"{number}\n{clock(start_ms, ',')} --> {clock(end_ms, ',')}\n{text}\n"
        for number, (start_ms, end_ms, text) in enumerate(entries, start=1)
    )


def vtt(transcript: Transcript, *, highlight_words: bool) -> str:
    """Return the transcript as WebVTT subtitles."""
    write = _timed_spans if highlight_words else _escaped
    head = f"WEBVTT\n{_STYLE}" if highlight_words else "WEBVTT\n"
    return head + "".join(
        f"\n{clock(cue.start_ms, '.')} --> {clock(cue.end_ms, '.')}\n{_voice(cue)}{_text(cue, write(cue))}\n"
        for cue in cues(transcript)
    )


def _text(cue: Cue, written: Iterable[str]) -> str:
    """Return a subtitle's lines with its pieces as they are written for a format."""
    texts = iter(written)
    lines = ("".join(" " * piece.is_spaced + next(texts) for piece in line) for line in cue.lines)
    return "\n".join(line.strip() for line in lines)


# --- SubRip ---------------------------------------------------------------------------------------


def _entries(cue: Cue, *, highlight_words: bool) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and text of the entries that make one subtitle."""
    for start_ms, end_ms, marked in _states(cue) if highlight_words else [(cue.start_ms, cue.end_ms, None)]:
        words = (f"<u>{piece.text}</u>" if piece is marked else piece.text for piece in cue.pieces)
        # An arrow would be taken for the times of another entry.
        yield start_ms, end_ms, (label_of(cue.speaker) + _text(cue, words)).replace("-->", "->")


def _states(cue: Cue) -> Iterator[tuple[int, int, Piece | None]]:
    """Yield when which word is spoken, and with None when none is; together they last as long as the subtitle."""
    at_ms = cue.start_ms
    for piece in cue.pieces:
        start_ms, end_ms = max(piece.start_ms, at_ms), min(piece.end_ms, cue.end_ms)
        if piece.is_timed and start_ms < end_ms:
            if at_ms < start_ms:
                yield at_ms, start_ms, None
            yield start_ms, end_ms, piece
            at_ms = end_ms
    if at_ms < cue.end_ms:
        yield at_ms, cue.end_ms, None


# --- WebVTT ---------------------------------------------------------------------------------------


def _voice(cue: Cue) -> str:
    return f"<v {_escape(cue.speaker)}>" if cue.speaker else ""


def _escaped(cue: Cue) -> Iterator[str]:
    return (_escape(piece.text) for piece in cue.pieces)


def _timed_spans(cue: Cue) -> Iterator[str]:
    """Yield each word as a span behind the time at which it begins; those times must grow, and lie inside the cue."""
    at_ms = cue.start_ms
    for piece in cue.pieces:
        if not piece.is_timed:
            yield _escape(piece.text)
            continue
        time = ""
        if at_ms < piece.start_ms < cue.end_ms:
            at_ms = piece.start_ms
            time = f"<{clock(at_ms, '.')}>"
        yield f"{time}<c>{_escape(piece.text)}</c>"


def _escape(text: str) -> str:
    return html.escape(text, quote=False)
