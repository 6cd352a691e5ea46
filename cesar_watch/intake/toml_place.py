"""Where in a TOML text a key stands, which tomllib does not tell."""

from __future__ import annotations

import re
import tomllib
from typing import Any

_LONGEST_STATEMENT = 200
"""So many lines are tried as one statement, and no more: a hostile file must not cost minutes."""

_AT = re.compile(r"(?P<what>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)", re.DOTALL)


def syntax_fault(fault: Exception, text: str) -> tuple[int, int, str]:
    """Return the line, the column (both from 1) and the words of what tomllib says; the end of the text if none."""
    told = _AT.fullmatch(str(fault))
    if told:
        return int(told["line"]), int(told["column"]), told["what"]
    lines = text.splitlines() or [""]
    what = "nested too deeply" if isinstance(fault, RecursionError) else str(fault)
    return len(lines), len(lines[-1]) + 1, what.removesuffix(" (at end of document)")


def place_of(key: str, text: str) -> tuple[int, int]:
    """Return the line and the column, both from 1, where a key or table of the top level is first named.

    The text is valid TOML. Each statement of TOML is by itself valid TOML again, so tomllib finds their ends.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    begin, table = 0, None
    for number in range(len(lines)):
        statement = "\n".join(lines[begin : number + 1])
        parsed = _parsed(statement)
        if parsed is None and number - begin < _LONGEST_STATEMENT:
            continue
        named = next(iter(parsed), None) if parsed is not None else lines[begin].partition("=")[0].strip(" \t\"'")
        if statement.lstrip().startswith("["):
            table = named
        if named is not None and key == (table or named):
            return begin + 1, len(lines[begin]) - len(lines[begin].lstrip()) + 1
        begin = number + 1
    return 1, 1


def _parsed(statement: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(statement)
    except (ValueError, RecursionError):
        return None
