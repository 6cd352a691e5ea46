"""The ledger: compare-and-set, claim order, reservations, history and requests, on a real SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.errors import IllegalTransition, LeaseLost, UsageError
from cesar_watch.core.job import TRANSITIONS, Event, Failure, FileIdentity, Job, Request, State, new_job_id
from cesar_watch.core.ledger import Intent, Ledger
from cesar_watch.core.notice import Notice
from tests.builders import NOW, lease_next

LATER = NOW + timedelta(minutes=5)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.db", "spool", owner=True)
    yield opened
    opened.close()


def make_intent(name: bytes = b"talk.mp3", subfolder: bytes = b"", job_id: str = "") -> Intent:
    job_id = job_id or new_job_id()
    return Intent(
        job_id=job_id,
        name=name,
        subfolder=subfolder,
        source=b"inbox/" + name,
        moving_to=b"processing/host/" + job_id.encode() + b"/" + name,
        identity=FileIdentity(device=2**63 - 1, inode=2**62, size_bytes=2**42, mtime_ns=-1),
        options={"engine": {"model": "demo"}},
    )


def numbered(base: str) -> Iterator[tuple[str, str]]:
    yield from ((f"{base}{tail}", f"{base}{tail}".casefold()) for tail in ("", "-2", "-3"))


def claiming(ledger: Ledger, name: bytes = b"talk.mp3", job_id: str = "", base: str = "") -> Job:
    intent = make_intent(name, job_id=job_id)
    return ledger.log_intent(intent, [(base or intent.job_id,) * 2], NOW)


def pending(ledger: Ledger, name: bytes = b"talk.mp3", job_id: str = "", **changes: Any) -> Job:
    return ledger.apply(claiming(ledger, name, job_id), Event.CLAIMED, NOW, **changes)


def leased(ledger: Ledger, lease: str = "lease") -> Job:
    pending(ledger)
    job = lease_next(ledger, lease, NOW)
    assert job
    return job


def notice(job: Job, key: str = "key") -> Notice:
    return Notice(key, job.job_id, "completed", "channel", "title", "body", None)


# --- claiming -----------------------------------------------------------------------------


def test_intent_comes_back_as_it_was_logged(ledger: Ledger) -> None:
    intent = make_intent(b"caf\xe9\n.mp3", b"radio\xff")
    job = ledger.log_intent(intent, [("café", "café")], NOW)

    assert {key: getattr(job, key) for key in vars(intent)} == vars(intent)
    assert (job.state, job.base, job.created_at, job.attempts, job.lease) == (State.CLAIMING, "café", NOW, 0, None)
    assert ledger.get(intent.job_id) == job


@pytest.mark.parametrize("name", [b"caf\xe9.mp3", b"\xff.wav", b"two\nlines.ogg", "🎙.wav".encode()])
def test_names_come_back_byte_for_byte(ledger: Ledger, name: bytes) -> None:
    job = pending(ledger, name, source=b"archive/" + name)

    assert (job.name, job.source) == (name, b"archive/" + name)
    assert ledger.jobs()[0].name == name


def test_base_that_is_taken_gives_way_to_the_next(ledger: Ledger) -> None:
    bases = [ledger.log_intent(make_intent(), numbered("talk"), NOW).base for _ in range(3)]

    assert bases == ["talk", "talk-2", "talk-3"]


def test_base_with_the_key_of_another_spelling_is_taken(ledger: Ledger) -> None:
    twins = [("CAFÉ", "café"), ("Cafe\u0301", "café")]
    for base, key in twins:
        ledger.log_intent(make_intent(), [(base, key), (f"{base}-2", f"{key}-2")], NOW)

    assert [job.base for job in ledger.jobs([State.CLAIMING])] == ["CAFÉ", "Cafe\u0301-2"]


def test_base_is_reserved_for_each_subfolder_apart(ledger: Ledger) -> None:
    folders = [b"", b"radio", b"Radio", b"radio/monday"]

    assert {ledger.log_intent(make_intent(subfolder=one), numbered("talk"), NOW).base for one in folders} == {"talk"}


def test_base_is_free_again_after_the_claim_was_withdrawn(ledger: Ledger) -> None:
    first = ledger.log_intent(make_intent(), numbered("talk"), NOW)
    ledger.withdraw(first)

    assert ledger.log_intent(make_intent(), numbered("talk"), NOW).base == "talk"
    with pytest.raises(UsageError):
        ledger.get(first.job_id)


def test_base_without_a_free_candidate_is_refused_and_logs_nothing(ledger: Ledger) -> None:
    ledger.log_intent(make_intent(), [("talk", "talk")], NOW)

    with pytest.raises(ValueError, match="free"):
        ledger.log_intent(make_intent(), [("talk", "talk")], NOW)
    assert ledger.counts()[State.CLAIMING] == 1


def test_base_can_be_reserved_anew_and_frees_the_old_one(ledger: Ledger) -> None:
    job = ledger.log_intent(make_intent(), numbered("talk"), NOW)

    assert ledger.reserve_base(job, [("other", "other")]).base == "other"
    assert ledger.log_intent(make_intent(), numbered("talk"), NOW).base == "talk"


def test_withdraw_of_a_claimed_job_does_nothing(ledger: Ledger) -> None:
    job = pending(ledger)
    ledger.withdraw(job)

    assert ledger.get(job.job_id) == job


# --- changes of state ---------------------------------------------------------------------


@pytest.mark.parametrize(("pair", "target"), TRANSITIONS.items())
def test_apply_carries_out_the_table(ledger: Ledger, pair: tuple[State, Event], target: State) -> None:
    state, event = pair
    job = ledger.log_intent(make_intent(), [("talk", "talk")], NOW, state=state)

    assert ledger.apply(job, event, LATER).state is target
    assert ledger.get(job.job_id).updated_at == LATER


def test_apply_outside_the_table_changes_nothing(ledger: Ledger) -> None:
    job = pending(ledger)

    with pytest.raises(IllegalTransition):
        ledger.apply(job, Event.PUBLISHED, LATER, message="done", notices=[notice(job)])
    assert ledger.get(job.job_id) == job
    assert len(ledger.history(job)) == 1
    assert ledger.notices.recent() == []


def test_apply_by_a_late_holder_is_refused_and_changes_nothing(ledger: Ledger) -> None:
    late = leased(ledger, "old lease")
    ledger.apply(late, Event.RELEASED, NOW, lease=None)
    current = lease_next(ledger, "new lease", NOW)
    assert current
    history = ledger.history(current)

    with pytest.raises(LeaseLost):
        ledger.apply(late, Event.TRANSCRIBED, LATER, message="late", notices=[notice(late)])
    with pytest.raises(LeaseLost):
        ledger.update(late, LATER, progress=99.0)
    assert ledger.get(late.job_id) == current
    assert ledger.history(current) == history
    assert ledger.notices.recent() == []


def test_apply_to_a_job_that_is_gone_is_a_lost_lease(ledger: Ledger) -> None:
    job = pending(ledger)
    ledger.forget(job)

    with pytest.raises(LeaseLost):
        ledger.apply(job, Event.CANCELLED, NOW)


def test_apply_twice_with_the_same_value_is_refused_the_second_time(ledger: Ledger) -> None:
    job = leased(ledger)
    ledger.apply(job, Event.RELEASED, NOW, lease=None)

    with pytest.raises(LeaseLost):
        ledger.apply(job, Event.RELEASED, NOW, lease=None)


def test_apply_stores_every_field_of_a_job(ledger: Ledger) -> None:
    changes: dict[str, Any] = {
        "source": b"failed/x\xff",
        "moving_to": b"failed/y",
        "identity": FileIdentity(1, 2, 3, 4),
        "sha256": "ab" * 32,
        "options": {"a": [1, None]},
        "attempts": 7,
        "lease": "l",
        "not_before_at": LATER,
        "started_at": NOW,
        "completed_at": LATER,
        "estimated_completion_at": LATER,
        "progress": 12.5,
        "message": "čeština",
        "duration_s": 1.25,
        "language": "cs",
        "language_probability": 0.5,
        "rtf": 0.1,
        "quality": {"verdict": "ok"},
        "outputs": ["talk.txt"],
        "outputs_sha256": {"talk.txt": "cd" * 32},
        "error": Failure("reason", "words"),
    }
    job = ledger.apply(claiming(ledger), Event.CLAIMED, NOW, **changes)

    assert {key: getattr(job, key) for key in changes} == changes


def test_apply_with_a_field_that_jobs_do_not_have_changes_nothing(ledger: Ledger) -> None:
    job = pending(ledger)

    with pytest.raises(KeyError):
        ledger.apply(job, Event.CANCELLED, NOW, mesage="typo")
    assert ledger.get(job.job_id) == job


def test_update_changes_fields_and_neither_state_nor_history(ledger: Ledger) -> None:
    job = leased(ledger)
    updated = ledger.update(job, LATER, progress=50.0, message="half")

    assert (updated.progress, updated.message, updated.state, updated.updated_at) == (50.0, "half", job.state, LATER)
    assert len(ledger.history(job)) == 2


def test_history_tells_every_change_in_order(ledger: Ledger) -> None:
    job = leased(ledger)
    ledger.apply(job, Event.RETRY_LATER, LATER, lease=None, reason="engine_crashed")
    told = [
        (row["event"], row["from_state"], row["to_state"], row["attempt"], row["reason"]) for row in ledger.history(job)
    ]

    assert told == [
        ("claimed", "claiming", "pending", 0, None),
        ("leased", "pending", "processing", 1, None),
        ("retry_later", "processing", "pending", 1, "engine_crashed"),
    ]
    assert ledger.history(job)[-1]["at"] == LATER.timestamp()


# --- leases -------------------------------------------------------------------------------


def test_lease_counts_the_attempt_before_any_work(ledger: Ledger) -> None:
    job = leased(ledger)

    assert (job.state, job.attempts, job.lease, job.started_at) == (State.PROCESSING, 1, "lease", NOW)
    assert ledger.get(job.job_id).attempts == 1


def test_lease_goes_in_the_order_of_claims(ledger: Ledger) -> None:
    claimed = [pending(ledger).job_id for _ in range(5)]
    given = [job.job_id for job in iter(lambda: lease_next(ledger, "lease", NOW), None)]

    assert given == claimed


def test_lease_of_an_empty_queue_is_none(ledger: Ledger) -> None:
    claiming(ledger)

    assert lease_next(ledger, "lease", NOW) is None


def test_lease_waits_for_the_time_of_a_job_and_passes_it_over(ledger: Ledger) -> None:
    waiting = pending(ledger, not_before_at=LATER)
    ready = pending(ledger)

    first = lease_next(ledger, "lease", NOW)
    assert first
    assert first.job_id == ready.job_id
    assert lease_next(ledger, "lease", LATER - timedelta(milliseconds=1)) is None
    second = lease_next(ledger, "lease", LATER)
    assert second
    assert (second.job_id, second.not_before_at) == (waiting.job_id, None)


@pytest.mark.parametrize(("off_s", "is_given"), [(0.0, True), (99.0, False), (100.0, False), (101.0, True)])
def test_lease_does_not_believe_a_wait_longer_than_any_can_be(ledger: Ledger, off_s: float, is_given: bool) -> None:
    pending(ledger, not_before_at=NOW + timedelta(seconds=off_s))

    assert (lease_next(ledger, "lease", NOW, longest_wait_s=100.0) is not None) is is_given


def test_lease_is_given_in_claim_order_whatever_the_clock_said_at_the_claims(ledger: Ledger) -> None:
    claimed = [pending(ledger).job_id]
    for years in (10, -10, 0):
        job = claiming(ledger)
        ledger.apply(job, Event.CLAIMED, NOW + timedelta(days=365 * years), moving_to=None)
        claimed.append(job.job_id)

    assert [job.job_id for job in ledger.jobs()] == claimed
    assert [job.job_id for job in iter(lambda: lease_next(ledger, "lease", NOW), None)] == claimed


def test_lease_of_a_job_that_was_tried_before_keeps_its_first_start(ledger: Ledger) -> None:
    job = leased(ledger)
    ledger.apply(job, Event.RETRY_LATER, NOW, lease=None)
    again = lease_next(ledger, "lease", LATER)

    assert again
    assert (again.attempts, again.started_at) == (2, NOW)


def test_lease_passes_over_a_job_that_somebody_wants_cancelled(ledger: Ledger) -> None:
    job = pending(ledger)
    ledger.ask(job, Request.CANCEL)
    assert lease_next(ledger, "lease", NOW) is None
    ledger.ask(job, None)

    assert lease_next(ledger, "lease", NOW)


# --- requests -------------------------------------------------------------------------------


def test_requests_are_listed_oldest_first_until_they_are_seen_to(ledger: Ledger) -> None:
    jobs = [pending(ledger) for _ in range(3)]
    ledger.ask(jobs[2], Request.DELETE)
    ledger.ask(jobs[0], Request.RETRY)
    asked = [(job.job_id, job.request) for job in ledger.requested()]

    assert asked == [(jobs[0].job_id, Request.RETRY), (jobs[2].job_id, Request.DELETE)]
    ledger.ask(jobs[0], None)
    assert [job.job_id for job in ledger.requested()] == [jobs[2].job_id]


def test_request_does_not_take_the_lease_away(ledger: Ledger) -> None:
    job = leased(ledger)
    ledger.ask(job, Request.CANCEL)

    assert ledger.apply(job, Event.CANCELLED, NOW).state is State.CANCELLED


# --- reading --------------------------------------------------------------------------------


def test_find_by_a_prefix_that_one_job_has_returns_it(ledger: Ledger) -> None:
    job = pending(ledger, job_id="abcd000000000000")
    pending(ledger, job_id="abce000000000000")

    assert ledger.find("abcd") == ledger.find("ABCD") == ledger.find(job.job_id) == job


@pytest.mark.parametrize("prefix", ["", "f", "%", "_", "abcd0000000000001"])
def test_find_by_a_prefix_that_no_job_has_is_refused(ledger: Ledger, prefix: str) -> None:
    pending(ledger, job_id="abcd000000000000")

    with pytest.raises(UsageError) as caught:
        ledger.find(prefix)
    assert caught.value.reason == "no_such_job"


def test_find_by_a_prefix_that_several_jobs_have_names_them(ledger: Ledger) -> None:
    for number in range(9):
        pending(ledger, job_id=f"abcd{number:012}")

    with pytest.raises(UsageError, match="abcd000000000004") as caught:
        ledger.find("abcd")
    assert caught.value.reason == "ambiguous_job"


def test_find_does_not_see_claims_however_many(ledger: Ledger) -> None:
    for number in range(9):
        claiming(ledger, job_id=f"abcd{number:012}")
    job = pending(ledger, job_id="abcdffffffffffff")

    assert ledger.find("abcd") == job


def test_get_of_an_unknown_job_says_where_to_look(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="cesar-watch jobs"):
        ledger.get("0" * 16)


def test_jobs_are_listed_in_claim_order_without_claims(ledger: Ledger) -> None:
    ids = [pending(ledger).job_id for _ in range(3)]
    claiming(ledger)

    assert [job.job_id for job in ledger.jobs()] == ids
    assert [job.job_id for job in ledger.jobs(newest_first=True, limit=2)] == ids[:0:-1]
    assert [job.job_id for job in ledger.jobs(limit=2, skip=1)] == ids[1:]


def test_jobs_are_counted_and_named_by_state(ledger: Ledger) -> None:
    job = leased(ledger)
    other = pending(ledger)
    counts = ledger.counts()

    assert (counts[State.PROCESSING], counts[State.PENDING], counts[State.FAILED]) == (1, 1, 0)
    assert counts.keys() == set(State)
    assert ledger.ids([State.PENDING]) == {other.job_id}
    assert ledger.jobs([State.PROCESSING]) == [job]


def test_forget_removes_the_job_its_history_and_its_notices_and_no_others(ledger: Ledger) -> None:
    gone, kept = (ledger.apply(claiming(ledger), Event.CLAIMED, NOW) for _ in range(2))
    ledger.apply(gone, Event.CANCELLED, NOW, notices=[notice(gone, "gone")])
    ledger.apply(kept, Event.CANCELLED, NOW, notices=[notice(kept, "kept")])
    ledger.forget(gone)

    assert [job.job_id for job in ledger.jobs()] == [kept.job_id]
    assert (ledger.history(gone), len(ledger.history(kept))) == ([], 2)
    assert [queued.notice.key for queued in ledger.notices.recent()] == ["kept"]


def test_value_that_was_read_does_not_change_with_the_ledger(ledger: Ledger) -> None:
    job = pending(ledger)
    lease_next(ledger, "lease", NOW)

    assert (job.state, job.attempts) == (State.PENDING, 0)
