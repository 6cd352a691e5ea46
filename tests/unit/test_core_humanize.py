"""Figures as a person reads them."""

from __future__ import annotations

import pytest

from cesar_watch.core import humanize


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (185, "3 min 5 s"),
        (3599.6, "1 h 0 min"),
        (7455, "2 h 4 min"),
        (360_000, "100 h 0 min"),
    ],
)
def test_duration_is_told_in_the_two_largest_units(seconds: float, words: str) -> None:
    assert humanize.duration(seconds) == words


@pytest.mark.parametrize(
    ("count_bytes", "words"),
    [
        (0, "0 B"),
        (312, "312 B"),
        (1000, "1.0 kB"),
        (4_100_000, "4.1 MB"),
        (999_950, "1.0 MB"),
        (1_200_000_000, "1.2 GB"),
        (5e12, "5.0 TB"),
        (5e15, "5000.0 TB"),
    ],
)
def test_size_is_told_in_powers_of_a_thousand(count_bytes: float, words: str) -> None:
    assert humanize.size(count_bytes) == words


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 recordings"), (1, "1 recording"), (2, "2 recordings"), (-1, "-1 recordings")]
)
def test_count_agrees_with_its_noun(number: int, words: str) -> None:
    assert humanize.count(number, "recording") == words


def test_count_of_an_irregular_noun_uses_its_plural() -> None:
    assert humanize.count(2, "entry", "entries") == "2 entries"
    assert humanize.count(1, "entry", "entries") == "1 entry"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59, "59 s"), (179, "2 min"), (7200, "2 h"), (86400, "1 day"), (200000, "2 days")],
)
def test_rough_names_the_largest_unit_alone(seconds: float, words: str) -> None:
    assert humanize.rough(seconds) == words


@pytest.mark.parametrize("letter", ["\n", "\r", "\x1b", "\x07", "\u202e", "\u2028", "\udcff", "\x9b"])
def test_printable_leaves_nothing_that_a_terminal_obeys(letter: str) -> None:
    assert humanize.printable(f"a{letter}b") == "a\N{REPLACEMENT CHARACTER}b"


def test_printable_leaves_words_of_any_language_alone() -> None:
    assert humanize.printable("Žluťoučký kůň 日本 💾 [bold]") == "Žluťoučký kůň 日本 💾 [bold]"
