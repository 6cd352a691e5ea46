"""Templates of notes: text with placeholders, read from a file when the settings are.

Only names and `:yaml` are taken, nothing else that Python's format strings can do: a template comes back out of
sidecars, which anybody may have written.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

PLACEHOLDERS = (
    *("title", "name", "date", "time", "duration", "duration_s", "language", "model", "job_id", "words"),
    *("text", "timed_text"),
)
LARGEST_CHARACTERS = 65_536
"""A template is a few lines, and is stored with each job."""


@dataclass(frozen=True)
class Template:
    """A checked template and the file it was read from."""

    path: Path
    text: str


def read_template(value: object) -> object:
    """Read the template that a path leads to; what is no path is passed on.

    Raises:
        ValueError: It can't be read, or is wrong.
    """
    if not isinstance(value, str | Path):
        return value
    path = Path(value).expanduser().absolute()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise ValueError(f"{path} can't be read ({fault.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    try:
        return Template(path, check_template(text))
    except ValueError as fault:
        raise ValueError(f"{path} {fault}") from None


def check_template(text: str) -> str:
    """Return a template's text as it is.

    Raises:
        ValueError: It has a placeholder that is not known or a brace that is not doubled, or is too long.
    """
    if len(text) > LARGEST_CHARACTERS:
        raise ValueError(f"has more than {LARGEST_CHARACTERS} characters: it is no template")
    try:
        fields = [field for field in string.Formatter().parse(text) if field[1] is not None]
    except ValueError:
        raise ValueError("has a brace that belongs to no placeholder: double it") from None
    for _, name, form, conversion in fields:
        if name not in PLACEHOLDERS or form not in ("", "yaml") or conversion:
            raise ValueError(f"has a placeholder that is not known: {{{name}}}")
    return text


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return a checked template with its placeholders replaced; `{name:yaml}` is quoted for front matter."""
    return text.format(**{name: _Quotable(value) for name, value in values.items()})


class _Quotable(str):
    def __format__(self, form: str) -> str:
        # A JSON string is a YAML one as well (YAML 1.2, section 1.3).
        return json.dumps(self, ensure_ascii=False) if form == "yaml" else str(self)


def _path_of(template: Template) -> str:
    return str(template.path)


TemplateFile = Annotated[
    Template, BeforeValidator(read_template), PlainSerializer(_path_of), WithJsonSchema({"type": "string"})
]
"""A template as the settings hold it: written and shown as the path of its file."""
