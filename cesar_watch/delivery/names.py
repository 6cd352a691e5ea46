"""Decide under which names outputs appear: portable ones, whatever bytes the recording is called.

A base is legal on Linux, macOS and Windows and in every sync client between them. Which base a job
gets is reserved elsewhere; this only proposes, and says what is taken.
"""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from cesar_watch.core.companions import NAME_BYTES

SIDECAR_ENDING = "status.json"

# Control characters, line separators and the bidirectional overrides that make a name read as another.
_UNPRINTABLE = "\\x00-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff"
_UNPORTABLE = re.compile(rf'[{_UNPRINTABLE}<>:"/\\|?*]')

# "Naming Files, Paths, and Namespaces", Microsoft: reserved with any extension too.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(?:\..*)?", re.IGNORECASE)


def output_bases(name: bytes, limit_bytes: int = NAME_BYTES) -> Iterator[str]:
    """Yield, without end, the bases that a recording may get, best first and no key twice.

    For `talk.mp3`: `talk`, `talk.mp3`, `talk.mp3-2`, `talk.mp3-3` ...

    Args:
        name: The recording's name as the inbox holds it: any bytes, without its folder.
        limit_bytes: The longest name of the filesystem; the base leaves room for `.status.json`.
    """
    text = name.decode("utf-8", "replace")
    room = limit_bytes - len(f".{SIDECAR_ENDING}")
    stem, full = _portable(os.path.splitext(text)[0], room), _portable(text, room)
    yield stem
    if base_key(full) != base_key(stem):
        yield full
    for number in itertools.count(2):
        tail = f"-{number}"
        yield _portable(text, room - len(tail)) + tail


def base_key(base: str) -> str:
    """Return the form under which two names are the same name: NFC, casefolded."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", base).casefold())


def output_name(base: str, ending: str) -> str:
    """Return the file name of an output or, with `status.json`, of the sidecar."""
    return f"{base}.{ending}"


def is_taken(folder: Path, base: str, formats: Iterable[str]) -> bool:
    """Say whether any output or the sidecar of `base` lies in the folder, in any case or normal form.

    Raises:
        OSError: The folder is there but can't be read.
    """
    return collides(base, formats, taken_keys(folder))


def taken_keys(folder: Path) -> set[str]:
    """Return the keys of all names in the folder, which need not be there.

    Raises:
        OSError: The folder is there but can't be read.
    """
    try:
        return {base_key(entry) for entry in os.listdir(folder)}
    except FileNotFoundError:
        return set()


def collides(base: str, formats: Iterable[str], taken: Container[str]) -> bool:
    """Say whether any output or the sidecar of `base` has one of the keys that are taken."""
    return any(base_key(output_name(base, ending)) in taken for ending in (*formats, SIDECAR_ENDING))


def _portable(text: str, room_bytes: int) -> str:
    clean = _UNPORTABLE.sub("_", unicodedata.normalize("NFC", text)).strip()
    if clean.startswith("."):
        clean = "_" + clean[1:]
    # Cutting may bare a device name that spaces had hidden; such a short one has room for one more.
    return _not_a_device(_cut(_not_a_device(clean), room_bytes)) or "recording"


def _cut(text: str, room_bytes: int) -> str:
    return text.encode()[:room_bytes].decode("utf-8", "ignore").rstrip(". \t\xa0\u3000")


def _not_a_device(base: str) -> str:
    return f"_{base}" if _DEVICE.fullmatch(base) else base
