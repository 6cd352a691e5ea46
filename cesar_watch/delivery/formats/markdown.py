"""Markdown for note-taking tools: front matter, then paragraphs, by a template that a person may replace."""

from __future__ import annotations

import re

from cesar_watch.core.template import fill
from cesar_watch.core.transcript import Transcript
from cesar_watch.delivery.formats.about import About
from cesar_watch.delivery.formats.plain import clock, milliseconds
from cesar_watch.delivery.formats.text import Paragraph, paragraphs

DEFAULT_TEMPLATE = """\
---
title: {title:yaml}
date: {date}
source: {name:yaml}
duration: {duration:yaml}
language: {language:yaml}
model: {model:yaml}
tags:
  - transcript
---

{text}
"""

_MARKUP = re.compile(r"[\\`*_\[<#$~|]")
_BLOCK_BEGINNING = re.compile(r"^(\d*)([-+>=.)])")


def md(transcript: Transcript, about: About, template: str) -> str:
    """Return a note.

    Args:
        template: Its text, checked; the built-in one if it is empty.
    """
    return fill(template or DEFAULT_TEMPLATE, placeholders(transcript, about))


def placeholders(transcript: Transcript, about: About) -> dict[str, str]:
    """Return what a template may hold, by the names of `core/template.py`."""
    found = paragraphs(transcript)
    return {
        "title": about.title,
        "name": about.name,
        "date": about.recorded_at.date().isoformat(),
        "time": about.recorded_at.strftime("%H:%M"),
        "duration": _clock(round(transcript.duration_s)),
        "duration_s": str(round(transcript.duration_s)),
        "language": transcript.language or "",
        "model": about.model,
        "job_id": about.job_id,
        "words": str(len(transcript.text.split())),
        "text": "\n\n".join(map(_paragraph, found)),
        "timed_text": "\n\n".join(f"[{_clock(one.start_s)}] {_paragraph(one)}" for one in found),
    }


def _paragraph(paragraph: Paragraph) -> str:
    label = f"**{_plain(paragraph.speaker)}:** " if paragraph.speaker else ""
    return label + _plain(paragraph.text)


def _plain(text: str) -> str:
    """Return text in which nothing is taken for markup; "1986. It was" begins no list."""
    return _BLOCK_BEGINNING.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", text))


def _clock(seconds: float) -> str:
    return clock(milliseconds(seconds), ".").partition(".")[0]
