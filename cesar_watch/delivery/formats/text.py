"""Running text: paragraphs by pauses and, where speakers are told apart, by turns."""

from __future__ import annotations

from dataclasses import dataclass, field

from cesar_watch.core.transcript import Transcript
from cesar_watch.delivery.formats.plain import label_of, one_line, speaker_of, spoken

PARAGRAPH_PAUSE_S = 2.0
"""Silence between two segments that begins a new paragraph."""


@dataclass(frozen=True)
class Paragraph:
    """What one speaker says without a longer pause. Of several in one turn only the first has the speaker's label."""

    start_s: float
    speaker: str
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Its words, on one line."""
        return " ".join(self.texts)


def paragraphs(transcript: Transcript) -> list[Paragraph]:
    """Return the paragraphs in the order of their segments."""
    found: list[Paragraph] = []
    speaker, end_s = "", float("-inf")
    for segment in spoken(transcript.segments):
        is_turn = speaker_of(segment) != speaker
        if is_turn or segment.start_s - end_s >= PARAGRAPH_PAUSE_S:
            found.append(Paragraph(segment.start_s, speaker_of(segment) if is_turn else ""))
        found[-1].texts.append(one_line(segment.text))
        speaker, end_s = speaker_of(segment), segment.end_s
    return found


def txt(transcript: Transcript) -> str:
    """Return the words alone: an empty line between paragraphs, "L: " where a speaker's turn begins."""
    return "\n".join(f"{label_of(paragraph.speaker)}{paragraph.text}\n" for paragraph in paragraphs(transcript))
