"""Notes: front matter that note-taking tools read, and text in which nothing is taken for markup."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cesar_watch.core.job import FileIdentity
from cesar_watch.core.template import PLACEHOLDERS, check_template
from cesar_watch.core.transcript import Transcript
from cesar_watch.delivery.formats.about import About
from cesar_watch.delivery.formats.markdown import DEFAULT_TEMPLATE, md, placeholders
from tests.builders import NOW, make_about, make_job, make_segment, make_transcript
from tests.names import names

TALK = make_transcript(make_segment(0, 2, " Good morning."), make_segment(3700, 3702, " Goodbye."), duration_s=3723)


def front_matter(note: str) -> dict[str, Any]:
    _, head, _ = note.split("---\n", 2)
    fields: dict[str, Any] = yaml.safe_load(head)
    return fields


def body(transcript: Transcript, template: str = "{text}") -> str:
    return md(transcript, make_about(), template)


def said(*texts: str) -> str:
    return body(make_transcript(*(make_segment(10 * at, 10 * at + 1, text) for at, text in enumerate(texts))))


def test_note_without_a_template_is_golden() -> None:
    assert md(TALK, make_about(model="large-v3"), "") == (
        "---\n"
        'title: "talk"\n'
        "date: 2026-03-01\n"
        'source: "talk.mp3"\n'
        'duration: "01:02:03"\n'
        'language: "en"\n'
        'model: "large-v3"\n'
        "tags:\n"
        "  - transcript\n"
        "---\n"
        "\n"
        "Good morning.\n"
        "\n"
        "Goodbye.\n"
    )


def test_note_has_front_matter_that_yaml_reads_as_it_is_meant() -> None:
    norwegian = make_transcript(make_segment(0, 2, "Hei."), duration_s=59.6, language="no")

    assert front_matter(md(norwegian, make_about(name='Kari: "hei" #1.mp3'), "")) == {
        "title": 'Kari: "hei" #1',
        "date": date(2026, 3, 1),
        "source": 'Kari: "hei" #1.mp3',
        "duration": "00:01:00",
        "language": "no",
        "model": "demo",
        "tags": ["transcript"],
    }


@given(names())
def test_note_of_any_name_has_front_matter_that_yaml_reads(name: bytes) -> None:
    about = About.of(make_job(name=name))

    assert front_matter(md(TALK, about, ""))["source"] == about.name


def test_note_of_a_call_has_bold_labels_where_turns_begin() -> None:
    call = make_transcript(
        make_segment(0, 1, "Hello.", speaker="L"),
        make_segment(1, 2, "It is me.", speaker="R*"),
        make_segment(9, 10, "Goodbye.", speaker="R*"),
    )

    assert body(call) == "**L:** Hello.\n\n**R\\*:** It is me.\n\nGoodbye."


def test_note_with_times_has_one_before_each_paragraph() -> None:
    assert body(TALK, "{timed_text}") == "[00:00:00] Good morning.\n\n[01:01:40] Goodbye."


@pytest.mark.parametrize(
    ("spoken", "written"),
    [
        ("5 * 3_4 `x` [[link]] <b> #tag a|b $5 ~no~ \\", r"5 \* 3\_4 \`x\` \[\[link]] \<b> \#tag a\|b \$5 \~no\~ \\"),
        ("1986. It was May.", r"1986\. It was May."),
        ("- a list", r"\- a list"),
        ("> said he", r"\> said he"),
        ("it was 1986. May.", "it was 1986. May."),
    ],
)
def test_note_takes_nothing_that_is_said_for_markup(spoken: str, written: str) -> None:
    assert said(spoken) == written


def test_note_by_a_template_fills_it() -> None:
    template = "{name} {title} {date} {time} {duration} {duration_s} {language} {model} {job_id} {words}"

    assert body(TALK, template) == "talk.mp3 talk 2026-03-01 12:00 01:02:03 3723 en demo 0123456789abcdef 3"


def test_note_of_silence_is_valid() -> None:
    assert md(make_transcript(language=None), make_about(), "").endswith('language: ""\nmodel: "demo"\n' + _REST)


_REST = "tags:\n  - transcript\n---\n\n\n"


def test_placeholders_are_those_that_settings_allow() -> None:
    assert set(placeholders(TALK, make_about())) == set(PLACEHOLDERS)


def test_built_in_template_is_a_valid_one() -> None:
    assert check_template(DEFAULT_TEMPLATE)


# --- facts --------------------------------------------------------------------------------------


def recorded(mtime_ns: int) -> datetime:
    return About.of(make_job(identity=FileIdentity(1, 2, 3000, mtime_ns))).recorded_at


def test_date_is_when_the_recording_was_last_changed() -> None:
    assert recorded(int(NOW.timestamp()) * 10**9 + 999) == NOW


def test_date_is_told_in_the_zone_in_which_it_was_noted() -> None:
    evening = datetime(2026, 3, 1, 20, 15, tzinfo=timezone(timedelta(hours=-8)))

    assert md(TALK, make_about(recorded_at=evening), "{date} {time}") == "2026-03-01 20:15"


@pytest.mark.parametrize("mtime_ns", [2**62 * 1000, -(2**62) * 1000])
def test_date_that_no_calendar_has_is_that_of_the_claim(mtime_ns: int) -> None:
    assert recorded(mtime_ns) == NOW


@given(st.integers(-(2**63), 2**63 - 1))
def test_date_of_any_recording_can_be_told(mtime_ns: int) -> None:
    assert md(TALK, make_about(recorded_at=recorded(mtime_ns)), "{date}").count("-") == 2


def test_facts_of_a_name_that_is_not_utf8_are_text() -> None:
    about = About.of(make_job(name=os.fsencode("caf\udce9\n.mp3")))

    assert (about.name, about.title) == ("caf\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}.mp3", "caf��")


def test_facts_survive_json_with_their_zone() -> None:
    about = make_about(recorded_at=datetime(2026, 3, 1, 1, 0, tzinfo=timezone(timedelta(hours=9))))
    read = About.model_validate_json(about.model_dump_json())

    assert read == about
    assert read.recorded_at.utcoffset() == timedelta(hours=9)
    assert read.recorded_at.astimezone(UTC).day == 28
