"""Globs: the same in any case and normal form, and never regular expressions."""

from __future__ import annotations

import unicodedata

import pytest

from cesar_watch.core.globs import Globs, matches


@pytest.mark.parametrize(
    ("text", "glob", "fits"),
    [
        ("interviews/talk.mp3", "interviews/*", True),
        ("interviews/2026/talk.mp3", "interviews/*", True),
        ("INTERVIEWS/talk.MP3", "Interviews/*.mp3", True),
        ("talk.mp3", "talk?mp3", True),
        ("talk-7.mp3", "talk-[0-9].mp3", True),
        ("talk.mp3x", "*.mp3", False),
        ("a_talk.mp3", "._*", False),
        ("line\nbreak.mp3", "line*", True),
    ],
)
def test_glob_fits_the_whole_text_in_any_case(text: str, glob: str, fits: bool) -> None:
    assert matches(text, glob) is fits
    assert (Globs([glob]).first_match(text) == 0) is fits


def test_glob_fits_either_normal_form() -> None:
    assert matches(unicodedata.normalize("NFD", "čeština.mp3"), unicodedata.normalize("NFC", "ČEŠTINA*"))


def test_globs_tell_the_first_that_fits() -> None:
    globs = Globs(["*.part", "*(1)*", "talk*"])

    assert [globs.first_match(name) for name in ("talk.part", "talk (1).x", "talk", "x")] == [0, 1, 2, None]


def test_globs_without_any_fit_nothing() -> None:
    assert Globs([]).first_match("") is None
