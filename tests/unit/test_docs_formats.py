"""docs/formats.md says what is so: its formats, fields, placeholders, figures and template are those of the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from cesar_watch.core.recording_settings import Format
from cesar_watch.core.template import PLACEHOLDERS
from cesar_watch.delivery.formats import cues
from cesar_watch.delivery.formats.lyrics import CLEAR_MS
from cesar_watch.delivery.formats.markdown import DEFAULT_TEMPLATE
from cesar_watch.delivery.formats.tables import SCHEMA, json_text
from cesar_watch.delivery.formats.text import PARAGRAPH_PAUSE_S
from tests.builders import make_segment, make_transcript, make_word

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


def column_of(head: str) -> list[str]:
    """Return the first column of the table with this head."""
    table = PAGE.split(f"| {head} |")[1].split("\n\n")[0]
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


def fields_of(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from fields_of(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        yield from fields_of(value[0], f"{path}[]")
    else:
        yield path


def test_page_lists_every_format_once() -> None:
    assert column_of("format") == list(get_args(Format))


def test_page_lists_every_field_of_json_in_its_order() -> None:
    written = json.loads("".join(json_text(make_transcript(make_segment(0, 1, "Yes.", (make_word(0, 1, "Yes."),))))))

    assert column_of("field") == list(fields_of(written))


def test_page_tells_the_schema_of_json() -> None:
    assert f"| `schema` | {SCHEMA} |" in PAGE


def test_page_lists_every_placeholder() -> None:
    assert column_of("placeholder") == [f"{{{name}}}" for name in PLACEHOLDERS]


def test_page_shows_the_built_in_template() -> None:
    assert f"```\n{DEFAULT_TEMPLATE}```\n" in PAGE


def test_page_tells_the_figures_of_the_rules() -> None:
    for words in (
        f"two lines of {cues.LINE_COLUMNS} characters",
        f"5/6 s to {cues.LONGEST_MS / 1000:.0f} s",
        f"{1000 / cues.COLUMN_MS:.0f} characters a second",
        f"({cues.GAP_MS} ms)",
        f"a new one after {PARAGRAPH_PAUSE_S:.0f} s of silence",
        f"an empty one before {CLEAR_MS / 1000:.0f} s of silence",
    ):
        assert words in PAGE
    assert cues.SHORTEST_MS == -(-1000 * 5 // 6)
