"""Notices: stored with the commit they tell of, once, and sent, put off, given up or revived."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from cesar_watch.core.errors import LeaseLost
from cesar_watch.core.job import Event, FileIdentity, Job, State
from cesar_watch.core.ledger import Intent, Ledger
from cesar_watch.core.notice import Notice, NoticeStatus, QueuedNotice
from tests.builders import NOW

LATER = NOW + timedelta(minutes=5)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.db", "spool", owner=True)
    yield opened
    opened.close()


@pytest.fixture
def job(ledger: Ledger) -> Job:
    intent = Intent("0" * 16, b"talk.mp3", b"", b"inbox/talk.mp3", b"x", FileIdentity(1, 2, 3, 4), {})
    return ledger.log_intent(intent, [("talk", "talk")], NOW, state=State.TRANSCRIBED)


def make_notice(key: str) -> Notice:
    return Notice(key, "0" * 16, "completed", "channel", f"title of {key}", "body\nčeština 🎙", "outbox/talk.txt")


def queue(ledger: Ledger, job: Job, *keys: str) -> None:
    ledger.apply(job, Event.PUBLISHED, NOW, notices=[make_notice(key) for key in keys])


def due(ledger: Ledger) -> QueuedNotice:
    queued = ledger.notices.due(NOW)
    assert queued
    return queued


def test_notice_is_stored_with_the_commit_and_comes_back_the_same(ledger: Ledger, job: Job) -> None:
    queue(ledger, job, "a")
    queued = due(ledger)

    assert queued.notice == make_notice("a")
    assert (queued.status, queued.attempts, queued.created_at) == (NoticeStatus.PENDING, 0, NOW)


def test_notice_of_a_refused_commit_is_not_stored(ledger: Ledger, job: Job) -> None:
    ledger.apply(job, Event.RELEASED, NOW)

    with pytest.raises(LeaseLost):
        queue(ledger, job, "a")
    assert ledger.notices.due(LATER) is None


def test_notice_with_a_key_that_is_there_is_left_as_it_was(ledger: Ledger, job: Job) -> None:
    queue(ledger, job, "a", "a")
    ledger.notices.sent(due(ledger), NOW)
    twin = ledger.log_intent(
        Intent("1" * 16, b"b.mp3", b"", b"inbox/b.mp3", b"x", FileIdentity(1, 2, 3, 4), {}),
        [("b", "b")],
        NOW,
        state=State.TRANSCRIBED,
    )
    queue(ledger, twin, "a", "b")

    assert [(one.notice.key, one.status) for one in ledger.notices.recent()] == [
        ("b", NoticeStatus.PENDING),
        ("a", NoticeStatus.SENT),
    ]


def test_notices_are_due_oldest_first_and_until_they_are_sent(ledger: Ledger, job: Job) -> None:
    queue(ledger, job, "b", "a")
    order = []
    while queued := ledger.notices.due(NOW):
        assert ledger.notices.due(NOW) == queued
        order.append(queued.notice.key)
        ledger.notices.sent(queued, LATER)

    assert order == ["b", "a"]
    assert [one.sent_at for one in ledger.notices.recent()] == [LATER, LATER]


def test_notice_that_is_put_off_waits_and_lets_others_pass(ledger: Ledger, job: Job) -> None:
    queue(ledger, job, "a", "b")
    ledger.notices.later(due(ledger), LATER, "no network")

    assert due(ledger).notice.key == "b"
    ledger.notices.sent(due(ledger), NOW)
    assert ledger.notices.due(LATER - timedelta(seconds=1)) is None
    # A wait that no notice is ever told was written before the clock was set back.
    assert ledger.notices.due(LATER - timedelta(seconds=1), longest_wait_s=0.5) is not None
    again = ledger.notices.due(LATER)
    assert again
    assert (again.notice.key, again.attempts, again.last_error) == ("a", 1, "no network")


def test_notice_that_is_sent_at_last_forgets_its_error(ledger: Ledger, job: Job) -> None:
    queue(ledger, job, "a")
    ledger.notices.later(due(ledger), NOW, "no network")
    ledger.notices.sent(due(ledger), NOW)
    (sent,) = ledger.notices.recent()

    assert (sent.status, sent.attempts, sent.last_error) == (NoticeStatus.SENT, 2, None)


def test_notice_that_is_given_up_is_kept_and_never_due(ledger: Ledger, job: Job) -> None:
    queue(ledger, job, "a")
    ledger.notices.give_up(due(ledger), "wrong password")
    (dead,) = ledger.notices.recent()

    assert (dead.status, dead.attempts, dead.last_error) == (NoticeStatus.DEAD, 1, "wrong password")
    assert ledger.notices.due(LATER) is None


def test_revive_makes_dead_notices_due_with_fresh_attempts_and_no_others(ledger: Ledger, job: Job) -> None:
    queue(ledger, job, "sent", "dead", "waiting")
    ledger.notices.sent(due(ledger), NOW)
    ledger.notices.later(due(ledger), LATER, "once")
    ledger.notices.later(due(ledger), LATER, "put off")
    dead = ledger.notices.due(LATER)
    assert dead
    ledger.notices.give_up(dead, "twice")

    assert ledger.notices.revive() == 1
    assert ledger.notices.revive() == 0
    assert (due(ledger).notice.key, due(ledger).attempts) == ("dead", 0)


def test_notices_are_counted_by_where_they_stand(ledger: Ledger, job: Job) -> None:
    assert ledger.notices.counts() == dict.fromkeys(NoticeStatus, 0)
    queue(ledger, job, "a", "b", "c")
    ledger.notices.sent(due(ledger), NOW)
    ledger.notices.give_up(due(ledger), "no")

    assert ledger.notices.counts() == dict.fromkeys(NoticeStatus, 1)


def test_recent_lists_the_newest_first_up_to_its_limit(ledger: Ledger, job: Job) -> None:
    queue(ledger, job, "a", "b", "c")

    assert [one.notice.key for one in ledger.notices.recent(2)] == ["c", "b"]
