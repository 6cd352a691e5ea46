"""Who is told what when a job ends."""

from __future__ import annotations

import dataclasses
import os
from datetime import timedelta
from typing import Any

import pytest

from cesar_watch.core.config import NotifySettings
from cesar_watch.core.job import Failure, Job, State
from cesar_watch.core.notice import Notice
from cesar_watch.delivery.notices import TEXT_CHARACTERS, channel_id, find_channel, notices_for, service_notices
from tests.builders import NOW, make_job

URL = "mailto://me:hunter2@example.org"
COMPLETED = make_job(
    state=State.COMPLETED,
    message="Transcribed 12 min 3 s of speech in 1 min 2 s.",
    outputs=["talk.srt", "talk.txt"],
)
FAILED = make_job(state=State.FAILED, message="Gave up.", error=Failure("bad_recording", "It holds no audio."))


def channel(**settings: Any) -> NotifySettings:
    return NotifySettings(**({"url": URL} | settings))


def only_notice(job: Job, text: str = "", **settings: Any) -> Notice:
    (notice,) = notices_for(job, [channel(**settings)], text=text)
    return notice


def test_notice_of_a_completed_job_says_so() -> None:
    notice = only_notice(COMPLETED)

    assert (notice.title, notice.body) == ("talk.mp3: completed", "Transcribed 12 min 3 s of speech in 1 min 2 s.")
    assert (notice.event, notice.job_id, notice.attach) == ("completed", COMPLETED.job_id, None)


def test_notice_of_a_failed_job_gives_the_error() -> None:
    assert only_notice(FAILED).body == "It holds no audio."


def test_notice_fills_every_placeholder() -> None:
    notice = only_notice(COMPLETED, text="Hello.", title="{job_id} {status}", body="{name}: {message} {text}")

    assert notice.title == "0123456789abcdef completed"
    assert notice.body == "talk.mp3: Transcribed 12 min 3 s of speech in 1 min 2 s. Hello."


def test_notice_of_a_long_transcript_shows_its_beginning() -> None:
    body = only_notice(COMPLETED, text="word " * 1000, body="{text}").body

    assert body.endswith("word …")
    assert len(body) <= TEXT_CHARACTERS + 2


def test_notice_of_a_long_transcript_without_spaces_is_cut_where_it_stands() -> None:
    assert only_notice(COMPLETED, text="好" * 1000, body="{text}").body == "好" * TEXT_CHARACTERS + " …"


def test_notice_of_a_name_with_a_newline_has_a_one_line_title() -> None:
    assert only_notice(dataclasses.replace(COMPLETED, name=b"a\nb.mp3")).title == "a b.mp3: completed"


def test_notice_with_text_that_quotes_raw_bytes_is_valid_utf8() -> None:
    job = dataclasses.replace(COMPLETED, message=os.fsdecode(b"inbox/\xff.mp3"))

    assert only_notice(job).body.encode() == b"inbox/?.mp3"


def test_notice_holds_no_secret_of_its_channel() -> None:
    assert "hunter2" not in repr(only_notice(COMPLETED))


def test_notice_keys_of_one_end_are_equal_and_of_another_differ() -> None:
    again = dataclasses.replace(COMPLETED, completed_at=NOW + timedelta(hours=1))

    assert only_notice(COMPLETED).key == only_notice(COMPLETED).key
    keys = {
        only_notice(COMPLETED).key,
        only_notice(again).key,
        only_notice(FAILED).key,
        only_notice(COMPLETED, url="json://host").key,
        only_notice(dataclasses.replace(COMPLETED, job_id="fedcba9876543210")).key,
    }
    assert len(keys) == 5


@pytest.mark.parametrize("state", sorted(set(State) - {State.COMPLETED, State.FAILED, State.DUPLICATE}))
def test_notices_of_a_job_that_has_not_ended_or_was_cancelled_are_none(state: State) -> None:
    assert notices_for(make_job(state=state), [channel()], text="") == []


def test_notices_go_to_channels_that_want_the_event() -> None:
    channels = [channel(url="json://a", events=["failed"]), channel(url="json://b", events=["completed"])]

    assert [notice.channel for notice in notices_for(FAILED, channels, text="")] == [channel_id("json://a")]


def test_notices_for_two_entries_with_one_url_are_one() -> None:
    channels = [channel(match="*.wav"), channel(title="first"), channel(title="second")]

    assert [notice.title for notice in notices_for(COMPLETED, channels, text="")] == ["first"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", True),
        ("interviews/*", True),
        ("INTERVIEWS/*.MP3", True),
        ("*/ku\u030an\u030c*", True),
        ("talk*", False),
        ("interviews", False),
        ("*.wav", False),
    ],
)
def test_notices_match_the_inbox_path_in_any_case_and_normal_form(pattern: str, expected: bool) -> None:
    job = dataclasses.replace(COMPLETED, subfolder=b"Interviews", name="Kůň.mp3".encode())

    assert bool(notices_for(job, [channel(match=pattern)], text="")) is expected


def test_attachment_is_the_plain_text() -> None:
    job = dataclasses.replace(COMPLETED, subfolder=b"radio")

    assert only_notice(job, attach=True).attach == "outbox/radio/talk.txt"


def test_attachment_without_plain_text_is_the_first_output() -> None:
    assert only_notice(dataclasses.replace(COMPLETED, outputs=["talk.srt"]), attach=True).attach == "outbox/talk.srt"


@pytest.mark.parametrize("job", [FAILED, dataclasses.replace(COMPLETED, subfolder=b"\xff")])
def test_attachment_that_can_not_be_had_is_left_out(job: Job) -> None:
    assert only_notice(job, attach=True).attach is None


def test_find_channel_by_its_id_gives_the_settings() -> None:
    channels = [channel(url="json://a"), channel()]

    assert find_channel(channels, channel_id(URL)) is channels[1]


def test_find_channel_that_was_removed_from_the_settings_gives_none() -> None:
    assert find_channel([channel()], channel_id("json://gone")) is None


def test_pause_is_told_with_the_services_name_and_the_faults_sentence() -> None:
    (notice,) = service_notices("paused", "The disk is full: free some space.", [channel()])

    assert (notice.title, notice.body) == ("cesar-watch: paused", "The disk is full: free some space.")
    assert (notice.event, notice.job_id, notice.attach) == ("paused", "", None)


def test_pause_fills_every_placeholder_though_it_is_of_no_job() -> None:
    settings = channel(title="[{job_id}] {status}", body="{name}{text}: {message}", attach=True)
    (notice,) = service_notices("resumed", "It goes on.", [settings])

    assert (notice.title, notice.body, notice.attach) == ("[] resumed", "cesar-watch: It goes on.", None)


def test_pause_is_told_whatever_recordings_a_channel_is_for() -> None:
    assert len(service_notices("paused", "Full.", [channel(match="interviews/*")])) == 1


def test_pause_is_told_only_to_channels_that_want_it_and_once_to_each() -> None:
    channels = [channel(events=["completed"]), channel(title="first"), channel(title="second")]
    other = channel(url="json://other", title="third")

    assert [notice.title for notice in service_notices("paused", "Full.", [*channels, other])] == ["first", "third"]


def test_notice_of_a_duplicate_attaches_the_transcript_of_the_other_job() -> None:
    job = make_job(state=State.DUPLICATE, subfolder=b"later", duplicate_of="f" * 16, outputs=["../first/a.txt"])

    assert only_notice(job, attach=True).attach == "outbox/first/a.txt"


def test_every_event_is_told_by_default() -> None:
    assert set(channel().events) == {"completed", "failed", "duplicate", "paused", "resumed", "degraded"}
