"""Globs over names and inbox paths: `*` (any letters, also `/`), `?` and `[...]`; never regular expressions.

Case and normal form do not matter: a share may spell a name otherwise than it was typed.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Sequence


def matches(text: str, glob: str) -> bool:
    """Whether the whole of `text` fits the glob."""
    return fnmatch.fnmatchcase(_key(text), _key(glob))


class Globs:
    """Several globs, looked through at once, since an inbox may hold a hundred thousand names."""

    def __init__(self, globs: Sequence[str]) -> None:
        self._all = re.compile("|".join(f"({fnmatch.translate(_key(glob))})" for glob in globs) or r"(?!)")

    def first_match(self, text: str) -> int | None:
        """Return the index of the first glob that `text` fits; None if none does."""
        found = self._all.match(_key(text))
        return None if found is None or found.lastindex is None else found.lastindex - 1


def _key(text: str) -> str:
    return unicodedata.normalize("NFC", text.casefold())
