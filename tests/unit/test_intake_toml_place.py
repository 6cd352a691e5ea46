"""Line and column of what is wrong in a settings file."""

from __future__ import annotations

import tomllib

import pytest

from cesar_watch.intake.toml_place import place_of, syntax_fault


@pytest.mark.parametrize(
    ("text", "key", "place"),
    [
        ("model = 1", "model", (1, 1)),
        ("# first\n\n  model = 1\n", "model", (3, 3)),
        ('hotwords = """\nmodel = 2\n"""\nmodel = 1', "model", (4, 1)),
        ("formats = [\n  'txt',\n]\r\nmodel = 1\r\n", "model", (4, 1)),
        ('"model" = 1', "model", (1, 1)),
        ("engine.model = 1", "engine", (1, 1)),
        ("a = 1\n[engine]\nmodel = 1\n", "engine", (2, 1)),
        ("a = 1\n[[engine.x]]\nmodel = 1\n", "engine", (2, 1)),
        ("a = {model = 1}\nmodel = 2", "model", (2, 1)),
        ("a = [\n" + "1,\n" * 500 + "]\n", "a", (1, 1)),
    ],
)
def test_place_of_a_key_is_where_it_is_first_named(text: str, key: str, place: tuple[int, int]) -> None:
    tomllib.loads(text)
    assert place_of(key, text) == place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("model = \n", (1, 9)),
        ("a = 1\nmodel 3\n", (2, 7)),
        ("a = 1\na = 2\n", (2, 6)),
        ("a = 'x", (1, 7)),
        ("b = 1\na = [1,", (2, 8)),
        ("a = " + "[" * 5000, (1, 5005)),
    ],
)
def test_place_of_bad_syntax_is_what_tomllib_says_or_the_end(text: str, place: tuple[int, int]) -> None:
    with pytest.raises((ValueError, RecursionError)) as caught:
        tomllib.loads(text)
    line, column, what = syntax_fault(caught.value, text)

    assert (line, column) == place
    assert what
    assert "at line" not in what
