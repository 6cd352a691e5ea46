"""Under which names outputs appear, whatever bytes a recording is called."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cesar_watch.delivery.names import base_key, is_taken, output_bases, output_name
from tests.names import names

AWKWARD = [
    b"talk.mp3",
    b"talk",
    b"archive.tar.mp3",
    b"\xff\xfe.mp3",
    b"a\x00b\nc\x7f.mp3",
    "\u202egpj.exe\u2028.mp3".encode(),
    "💾 memo 👩‍💻.m4a".encode(),
    b"..",
    b".",
    b"...mp3",
    b".hidden.mp3",
    b"..\\..\\etc\\passwd.mp3",
    b"dots....mp3",
    b"talk. . .",
    b"   .mp3",
    b'<>:"|?*.mp3',
    b"CON.mp3",
    b"con",
    b"Nul.tar.mp3",
    b"com1 .wav",
    "LPT².wav".encode(),
    b"CON" + b" " * 245 + b"x.mp3",
    b"CON." + b"x" * 251,
    b"-rf.mp3",
    b"a" * 255,
    ("ž" * 127 + "x").encode(),
    ("👩‍💻" * 23).encode(),
    unicodedata.normalize("NFD", "Žluťoučký kůň.mp3").encode(),
]
DEVICES = {"CON", "PRN", "AUX", "NUL"} | {f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789¹²³"}


def all_awkward(test: Callable[..., None]) -> Callable[..., None]:
    """Try the names that are known to be awkward, and not only what hypothesis thinks of."""
    for name in AWKWARD:
        test = example(name=name, limit_bytes=255)(example(name=name, limit_bytes=143)(test))
    return test


def first_bases(name: bytes, count: int = 4) -> list[str]:
    return list(islice(output_bases(name), count))


def test_bases_of_a_common_name_go_from_short_to_numbered() -> None:
    assert first_bases(b"talk.mp3") == ["talk", "talk.mp3", "talk.mp3-2", "talk.mp3-3"]


def test_bases_of_a_name_without_extension_skip_the_twin() -> None:
    assert first_bases(b"talk") == ["talk", "talk-2", "talk-3", "talk-4"]


def see_portable(base: str, limit_bytes: int) -> None:
    assert base
    assert base == unicodedata.normalize("NFC", base)
    assert not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in base)
    assert not set(base) & set('<>:"/\\|?*\u202e')
    assert not base.startswith((".", " "))
    assert not base.endswith((".", " "))
    assert base.split(".", maxsplit=1)[0].strip().upper() not in DEVICES
    assert len(f"{base}.status.json".encode()) <= limit_bytes


@given(name=names(), limit_bytes=st.sampled_from([255, 143, 64]))
@settings(max_examples=300)
@all_awkward
def test_bases_of_any_name_are_portable(name: bytes, limit_bytes: int) -> None:
    for base in islice(output_bases(name, limit_bytes), 12):
        see_portable(base, limit_bytes)


@given(name=names(), limit_bytes=st.sampled_from([255, 143, 64]))
@settings(max_examples=100)
@all_awkward
def test_bases_of_any_name_never_repeat_a_key(name: bytes, limit_bytes: int) -> None:
    bases = list(islice(output_bases(name, limit_bytes), 30))

    assert len({base_key(base) for base in bases}) == len(bases)


@given(text=st.text(max_size=40))
@settings(max_examples=300)
def test_key_of_a_text_is_that_of_each_of_its_forms(text: str) -> None:
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]

    assert {base_key(form) for form in (*forms, text.casefold(), *(form.casefold() for form in forms))} == {
        base_key(text)
    }
    assert base_key(base_key(text)) == base_key(text)


@pytest.mark.parametrize(
    ("name", "base"),
    [
        (b"\xff.mp3", "\ufffd"),
        (b"line\nbreak.mp3", "line_break"),
        (b"../talk.mp3", "_._talk"),
        (b"talk...mp3", "talk"),
        (b".mp3", "_mp3"),
        (b" .mp3", "recording"),
        (b"CON.mp3", "_CON"),
        (b"console.mp3", "console"),
        (b"-v.mp3", "-v"),
        ("💾.mp3".encode(), "💾"),
    ],
)
def test_first_base_of_an_awkward_name_stays_recognisable(name: bytes, base: str) -> None:
    assert first_bases(name, 1) == [base]


def test_first_base_of_a_255_byte_name_is_cut_between_characters() -> None:
    base = first_bases(("ž" * 127).encode(), 1)[0]

    assert base == "ž" * ((255 - len(".status.json")) // 2)


def test_first_base_of_nfd_and_nfc_twins_is_the_same_text() -> None:
    twins = [unicodedata.normalize(form, "Kůň.mp3").encode() for form in ("NFC", "NFD")]

    assert first_bases(twins[0]) == first_bases(twins[1])


@pytest.mark.parametrize("twin", ["TALK", "Talk", "tALK"])
def test_key_of_a_case_twin_is_the_same(twin: str) -> None:
    assert base_key(twin) == base_key("talk")


def test_key_of_nfd_and_nfc_twins_is_the_same() -> None:
    assert base_key(unicodedata.normalize("NFD", "KŮŇ")) == base_key(unicodedata.normalize("NFC", "kůň"))


@pytest.mark.parametrize("there", ["talk.txt", "TALK.TXT", "talk.status.json", "Talk.Status.json"])
def test_base_whose_output_lies_there_is_taken(tmp_path: Path, there: str) -> None:
    (tmp_path / there).touch()

    assert is_taken(tmp_path, "talk", ["txt", "srt"])


def test_base_whose_nfd_twin_lies_there_is_taken(tmp_path: Path) -> None:
    (tmp_path / unicodedata.normalize("NFD", "kůň.srt")).touch()

    assert is_taken(tmp_path, unicodedata.normalize("NFC", "kůň"), ["srt"])


def test_base_beside_strangers_is_free(tmp_path: Path) -> None:
    for stranger in (b"talk.mp4", b"talk.txt.bak", b"talk2.txt", b"talk", b"\xff.txt"):
        (tmp_path / stranger.decode(errors="surrogateescape")).touch()

    assert not is_taken(tmp_path, "talk", ["txt"])


def test_base_in_a_folder_that_is_not_made_yet_is_free(tmp_path: Path) -> None:
    assert not is_taken(tmp_path / "later", "talk", ["txt"])


def test_base_whose_name_is_held_by_a_dangling_link_is_taken(tmp_path: Path) -> None:
    (tmp_path / "talk.txt").symlink_to("nowhere")

    assert is_taken(tmp_path, "talk", ["txt"])


def test_output_name_is_base_and_ending() -> None:
    assert output_name("talk.mp3-2", "txt") == "talk.mp3-2.txt"
