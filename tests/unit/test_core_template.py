"""Templates of notes: what may stand in them, and how they are filled."""

from __future__ import annotations

from pathlib import Path

import pytest

from cesar_watch.core.template import PLACEHOLDERS, Template, check_template, fill, read_template


def test_template_may_hold_every_placeholder_plain_and_quoted() -> None:
    text = " ".join(f"{{{name}}} {{{name}:yaml}}" for name in PLACEHOLDERS)

    assert fill(check_template(text), dict.fromkeys(PLACEHOLDERS, "a")) == " ".join('a "a"' for _ in PLACEHOLDERS)


def test_template_with_doubled_braces_shows_single_ones() -> None:
    assert fill(check_template("{{{{x}}}} {title}"), {"title": "{y}"}) == "{{x}} {y}"


@pytest.mark.parametrize("text", ["{titel}", "{}", "{0}", "{title.upper}", "{title[0]}", "{title!r}", "{title:>9}"])
def test_template_with_anything_but_a_placeholder_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"has a placeholder that is not known: \{(titel|0?|title.*)\}"):
        check_template(text)


@pytest.mark.parametrize("text", ["{title", "title}", "{ti{tle}"])
def test_template_with_a_lone_brace_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="double it"):
        check_template(text)


def test_template_that_is_far_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="no template"):
        check_template("a" * 65_537)


def test_template_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "note.md"
    path.write_bytes("# {title} ž\r\n".encode())

    assert read_template(str(path)) == Template(path, "# {title} ž\n")


@pytest.mark.parametrize(("content", "told"), [(None, "can't be read"), (b"\xff", "not UTF-8"), (b"{x}", "{x}")])
def test_template_file_that_is_wrong_is_refused_with_its_path(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "note.md"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ValueError, match=rf"^{path} .*{told}"):
        read_template(path)
