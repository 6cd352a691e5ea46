"""The courier: notices go out once, failing channels are tried again, dead letters are kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import apsw
import pytest

from cesar_watch.core.config import NotifySettings
from cesar_watch.core.errors import AttemptError, LedgerError
from cesar_watch.core.notice import NoticeStatus
from cesar_watch.delivery.notices import service_notices
from cesar_watch.service.courier import NOTICE_ATTEMPTS, Courier
from tests.fakes import FakeEngine
from tests.service_builders import CHANNEL, Rig, open_rig


class RecordingSender:
    """A channel that takes messages, or refuses them while `refuses` is set."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str | None]] = []
        self.tries = 0
        self.refuses = False

    def __call__(self, channel: NotifySettings, title: str, body: str, attach: Path | None) -> None:
        self.tries += 1
        if self.refuses:
            raise AttemptError("json://127.0.0.1 refused.", reason="notice_failed")
        self.sent.append((title, body, attach.name if attach else None))


def _completed(rig: Rig) -> None:
    rig.drop("talk.mp3")
    rig.claim_all()
    rig.work()


def test_notice_of_a_completed_job_is_sent_once_with_words_a_person_reads(tmp_path: Path) -> None:
    sender = RecordingSender()
    with open_rig(tmp_path, FakeEngine()) as rig:
        _completed(rig)
        courier = Courier(rig.house, sender=sender)
        assert courier.turn(0.0) == 0.0
        assert courier.turn(0.0) > 0
    ((title, body, attach),) = sender.sent
    assert title == "talk.mp3: completed"
    assert "2 words" in body
    assert attach is None


def test_notice_attaches_the_transcript_when_asked(tmp_path: Path) -> None:
    sender = RecordingSender()
    channel = {"url": "json://127.0.0.1:9/", "attach": True}
    with open_rig(tmp_path, FakeEngine(), notify=[channel]) as rig:
        _completed(rig)
        Courier(rig.house, sender=sender).turn(0.0)
    assert sender.sent[0][2] == "talk.txt"


def test_refused_notice_waits_and_goes_out_when_the_channel_is_back(tmp_path: Path) -> None:
    sender = RecordingSender()
    with open_rig(tmp_path, FakeEngine()) as rig:
        _completed(rig)
        courier = Courier(rig.house, sender=sender)
        sender.refuses = True
        courier.turn(0.0)
        courier.turn(0.0)
        assert sender.tries == 1
        sender.refuses = False
        rig.hand.move(60)
        courier.turn(0.0)
        assert len(sender.sent) == 1
        assert rig.house.ledger.notices.counts()[NoticeStatus.SENT] == 1


def test_notice_refused_to_the_last_attempt_becomes_a_dead_letter_that_can_be_revived(tmp_path: Path) -> None:
    sender = RecordingSender()
    sender.refuses = True
    with open_rig(tmp_path, FakeEngine()) as rig:
        _completed(rig)
        courier = Courier(rig.house, sender=sender)
        for _ in range(NOTICE_ATTEMPTS + 5):
            courier.turn(0.0)
            rig.hand.move(3700)
        assert sender.tries == NOTICE_ATTEMPTS
        (dead,) = rig.house.ledger.notices.recent()
        assert dead.status is NoticeStatus.DEAD
        assert dead.last_error == "json://127.0.0.1 refused."
        sender.refuses = False
        assert rig.house.ledger.notices.revive() == 1
        courier.turn(0.0)
        assert len(sender.sent) == 1


def test_notice_whose_channel_left_the_settings_becomes_a_dead_letter(tmp_path: Path) -> None:
    sender = RecordingSender()
    with open_rig(tmp_path, FakeEngine()) as rig:
        _completed(rig)
        rig.house.settings = rig.house.settings.model_copy(update={"notify": []})
        Courier(rig.house, sender=sender).turn(0.0)
        assert sender.tries == 0
        assert rig.house.ledger.notices.counts()[NoticeStatus.DEAD] == 1


def test_job_is_completed_whatever_becomes_of_its_notice(tmp_path: Path) -> None:
    sender = RecordingSender()
    sender.refuses = True
    with open_rig(tmp_path, FakeEngine()) as rig:
        _completed(rig)
        Courier(rig.house, sender=sender).turn(0.0)
        assert rig.only_job().state.value == "completed"


@contextlib.contextmanager
def _uncommitting(ledger: Path) -> Iterator[None]:
    """Let every note about a notice fail in SQLite for the length of the block."""
    with contextlib.closing(apsw.Connection(str(ledger))) as other:
        other.execute("CREATE TRIGGER refuse BEFORE UPDATE ON notice BEGIN SELECT RAISE(ABORT, 'refused'); END")
        yield
        other.execute("DROP TRIGGER refuse")


def test_sent_notice_is_not_sent_again_while_the_ledger_can_not_note_it(tmp_path: Path) -> None:
    sender = RecordingSender()
    with open_rig(tmp_path, FakeEngine()) as rig:
        _completed(rig)
        courier = Courier(rig.house, sender=sender)
        with _uncommitting(tmp_path / ".state/ledger.db"):
            for _ in range(3):
                with pytest.raises(LedgerError):
                    courier.turn(0.0)
        assert sender.tries == 1
        assert courier.turn(0.0) > 0
        assert sender.tries == 1


PAUSED, RESUMED = "cesar-watch: paused", "cesar-watch: resumed"


def _tell(courier: Courier, rig: Rig, event: Literal["paused", "resumed"]) -> None:
    courier.tell(service_notices(event, "The disk is full.", rig.house.settings.notify))


def test_pause_is_told_though_the_ledger_can_not_be_read(tmp_path: Path) -> None:
    sender = RecordingSender()
    with open_rig(tmp_path, FakeEngine()) as rig:
        (tmp_path / ".state/ledger.db").write_bytes(b"not a ledger any more, far from it")
        rig.house.ledger.close()
        courier = Courier(rig.house, sender=sender)
        _tell(courier, rig, "paused")
        with pytest.raises(LedgerError):
            courier.turn(0.0)
        with pytest.raises(LedgerError):
            courier.turn(0.0)
    assert sender.sent == [(PAUSED, "The disk is full.", None)]


def test_end_of_a_pause_is_told_after_the_pause_though_that_could_not_be_sent_at_first(tmp_path: Path) -> None:
    sender = RecordingSender()
    with open_rig(tmp_path, FakeEngine()) as rig:
        courier = Courier(rig.house, sender=sender)
        sender.refuses = True
        _tell(courier, rig, "paused")
        courier.turn(0.0)
        _tell(courier, rig, "resumed")
        courier.turn(1.0)
        assert sender.tries == 1
        sender.refuses = False
        for now_s in (60.0, 61.0, 62.0):
            courier.turn(now_s)
    assert [title for title, _, _ in sender.sent] == [PAUSED, RESUMED]


def test_channel_that_refuses_does_not_keep_the_pause_from_another(tmp_path: Path) -> None:
    told: list[str] = []

    def sender(channel: NotifySettings, title: str, body: str, attach: Path | None) -> None:
        if channel.url == CHANNEL["url"]:
            raise AttemptError("Refused.", reason="notice_failed")
        told.append(title)

    with open_rig(tmp_path, FakeEngine(), notify=[CHANNEL, {"url": "json://127.0.0.1:9/other"}]) as rig:
        courier = Courier(rig.house, sender=sender)
        _tell(courier, rig, "paused")
        courier.turn(0.0)
        courier.turn(0.0)
    assert told == [PAUSED]


def test_pause_that_no_attempt_could_tell_is_given_up_and_the_next_one_is_tried(tmp_path: Path) -> None:
    sender = RecordingSender()
    sender.refuses = True
    with open_rig(tmp_path, FakeEngine()) as rig:
        courier = Courier(rig.house, sender=sender)
        _tell(courier, rig, "paused")
        for number in range(NOTICE_ATTEMPTS + 5):
            courier.turn(number * 3700.0)
        assert sender.tries == NOTICE_ATTEMPTS
        sender.refuses = False
        _tell(courier, rig, "resumed")
        courier.turn(1e6)
    assert [title for title, _, _ in sender.sent] == [RESUMED]
