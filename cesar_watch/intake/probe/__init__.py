"""Ask a recording's own structure whether it is all there: a few headers, no decoder.

What a file declares is compared with what it holds. Proof of either kind is possible for WAV, Wave64, AIFF, CAF, AU,
FLAC, Ogg, MP4, Matroska, ASF and MP3 with a Xing header; raw AAC, MPEG-TS and the like have nothing to be compared.
"""

from __future__ import annotations

import struct

from cesar_watch.intake.probe.boxes import FIRST_BOXES, mp4
from cesar_watch.intake.probe.chunks import aiff, wav
from cesar_watch.intake.probe.ebml import matroska
from cesar_watch.intake.probe.flac import flac
from cesar_watch.intake.probe.mpeg import mp3, skip_tags
from cesar_watch.intake.probe.ogg import ogg
from cesar_watch.intake.probe.verdict import (
    COMPLETE,
    UNKNOWN,
    Complete,
    Excerpts,
    Short,
    Undecided,
    Unknown,
    Verdict,
)
from cesar_watch.intake.probe.wide import ASF_MAGIC, W64_MAGIC, asf, au, caf, w64

__all__ = ["COMPLETE", "UNKNOWN", "Complete", "Short", "Unknown", "Verdict", "probe"]

_TAIL_BYTES = 256
"""So many zeros at the end may be what has not been written yet."""


def probe(descriptor: int, size_bytes: int) -> Verdict:
    """Judge an open regular file by its content, whatever its name; at most 1 MiB of it is read.

    Garbage is `Unknown`, never an exception. A file whose end is all zeros is never called complete: some writers
    give it its full size first and fill it in later.

    Args:
        size_bytes: Its size, as the caller saw it.

    Raises:
        OSError: The disk or share fails.
    """
    file = Excerpts(descriptor, size_bytes)
    try:
        verdict = _judge(file)
        if verdict == COMPLETE and not any(file.at(max(0, size_bytes - _TAIL_BYTES), _TAIL_BYTES)):
            return UNKNOWN
    except (Undecided, struct.error):
        return UNKNOWN
    return verdict


def _judge(file: Excerpts) -> Verdict:
    head = file.at(0, 16)
    magic, form = head[:4], head[8:12]
    kinds = (
        (magic in (b"RIFF", b"RF64", b"BW64") and form == b"WAVE", wav),
        (magic == b"FORM" and form in (b"AIFF", b"AIFC"), aiff),
        (head == W64_MAGIC, w64),
        (head == ASF_MAGIC, asf),
        (magic == b"caff", caf),
        (magic == b".snd", au),
        (magic == b"OggS", ogg),
        (magic == b"\x1a\x45\xdf\xa3", matroska),
        (head[4:8] in FIRST_BOXES, mp4),
    )
    for fits, judge in kinds:
        if fits:
            return judge(file)
    begin = skip_tags(file)
    if begin > file.size_bytes:
        return Short(begin, file.size_bytes)
    return flac(file, begin) if file.at(begin, 4) == b"fLaC" else mp3(file, begin)
