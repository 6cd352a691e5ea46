"""Names of recordings, for hypothesis: any bytes that a filesystem holds, and those that have made trouble before."""

from __future__ import annotations

import unicodedata

from hypothesis import strategies as st

LIMIT_BYTES = 255

STEMS = (
    b"talk",
    b"TALK",
    b"talk.status",
    b"talk.mp3",
    b"talk-2",
    b"-rf",
    b"--help",
    b"~$talk",
    b"..\\..\\talk",
    b"..%2f..%2ftalk",
    b"CON",
    b"con.tar",
    b"lpt1 ",
    b" talk ",
    b"talk. .",
    b'<>:"|?*',
    b"[bold]talk[blink]",
    b"%s%n{0}",
    b"line\nbreak\r\n",
    b"\x1b[2J\x1b]0;title\x07",
    b"\xff\xfe",
    b"caf\xe9",
    "caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode(),
    unicodedata.normalize("NFD", "caf\N{LATIN SMALL LETTER E WITH ACUTE}").encode(),
    "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}stanbul".encode(),
    "stra\N{LATIN SMALL LETTER SHARP S}e".encode(),
    b"strasse",
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe".encode(),
    "\N{MAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}".encode(),
    "\N{MAN}\N{PERSONAL COMPUTER}".encode(),
    "\N{NO-BREAK SPACE}talk\N{ZERO WIDTH NO-BREAK SPACE}".encode(),
    "\N{FLOPPY DISK}".encode() * 60,
    b"a" * 251,
    ("\N{LATIN SMALL LETTER Z WITH CARON}" * 125).encode(),
)

_BYTES = st.integers(1, 255).filter(lambda byte: byte != ord("/"))
_ANY_STEM = st.one_of(
    st.sampled_from(STEMS),
    st.lists(_BYTES, max_size=LIMIT_BYTES).map(bytes),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), max_size=90).map(str.encode),
)


@st.composite
def names(draw: st.DrawFn, endings: tuple[bytes, ...] = (b".mp3", b".MP3", b".wav", b"")) -> bytes:
    """Draw any name of at most 255 bytes."""
    ending = draw(st.sampled_from(endings))
    name = draw(_ANY_STEM)[: LIMIT_BYTES - len(ending)] + ending
    return b"_" if name in (b"", b".", b"..") else name
