"""Turn a transcript into the bytes of an output file; a module a family of formats, described in docs/formats.md.

Values in, bytes out, the same whenever it is done again. Every format is valid for an empty transcript too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from cesar_watch.core.recording_settings import Format
from cesar_watch.core.transcript import Transcript
from cesar_watch.delivery.formats.about import About, Style
from cesar_watch.delivery.formats.lyrics import lrc
from cesar_watch.delivery.formats.markdown import md
from cesar_watch.delivery.formats.subtitles import srt, vtt
from cesar_watch.delivery.formats.tables import json_text, tsv
from cesar_watch.delivery.formats.text import txt

RENDERERS: dict[Format, Callable[[Transcript, About, Style], Iterable[str]]] = {
    "txt": lambda transcript, _about, _style: [txt(transcript)],
    "srt": lambda transcript, _about, style: [srt(transcript, highlight_words=style.highlight_words)],
    "vtt": lambda transcript, _about, style: [vtt(transcript, highlight_words=style.highlight_words)],
    "json": lambda transcript, _about, _style: json_text(transcript),
    "tsv": lambda transcript, _about, _style: [tsv(transcript)],
    "lrc": lambda transcript, about, _style: [lrc(transcript, about)],
    "md": lambda transcript, about, style: [md(transcript, about, style.md_template)],
}
"""One renderer for each format, and what it needs; `render` makes bytes of the pieces that it returns."""


def render(transcript: Transcript, fmt: Format, about: About, style: Style) -> Iterator[bytes]:
    r"""Yield the file in the asked format piece by piece: UTF-8, lines ended by `\n`. Nothing is done before."""
    for piece in RENDERERS[fmt](transcript, about, style):
        yield piece.encode("utf-8", "replace")
