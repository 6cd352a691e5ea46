"""The courier: notices go out once, failing channels are tried again, dead letters are kept."""

from __future__ import annotations

from pathlib import Path

from cesar_watch.core.config import NotifySettings
from cesar_watch.core.errors import AttemptError
from cesar_watch.core.notice import NoticeStatus
from cesar_watch.service.courier import NOTICE_ATTEMPTS, Courier
from tests.fakes import FakeEngine
from tests.service_builders import Rig, open_rig


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
