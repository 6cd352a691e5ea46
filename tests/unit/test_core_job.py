"""The table of states: what is allowed, and that nothing else is."""

from __future__ import annotations

import dataclasses
import itertools
import os
from pathlib import Path

import pytest

from cesar_watch.core.errors import IllegalTransition
from cesar_watch.core.job import TERMINAL, TRANSITIONS, Event, FileIdentity, State, advance, new_job_id
from tests.builders import make_job

PAIRS = list(itertools.product(State, Event))
REFUSED = [pair for pair in PAIRS if pair not in TRANSITIONS]


@pytest.mark.parametrize(("state", "event"), REFUSED)
def test_advance_of_a_pair_outside_the_table_is_refused(state: State, event: Event) -> None:
    with pytest.raises(IllegalTransition):
        advance(state, event)


@pytest.mark.parametrize(("pair", "target"), TRANSITIONS.items())
def test_advance_of_a_pair_in_the_table_gives_its_state(pair: tuple[State, Event], target: State) -> None:
    assert advance(*pair) is target


def test_states_are_all_reachable_from_the_claim() -> None:
    reached = {State.CLAIMING}
    while more := {target for (state, _), target in TRANSITIONS.items() if state in reached} - reached:
        reached |= more

    assert reached == set(State)


def test_events_are_all_used_by_the_table() -> None:
    assert {event for _, event in TRANSITIONS} == set(Event)


def test_states_that_are_not_terminal_can_reach_completed() -> None:
    leads_there = {State.COMPLETED}
    while more := {state for (state, _), target in TRANSITIONS.items() if target in leads_there} - leads_there:
        leads_there |= more

    assert leads_there == set(State)


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_terminal_state_is_left_by_nothing_but_a_requeue(state: State) -> None:
    assert {event for source, event in TRANSITIONS if source is state} <= {Event.REQUEUED}


def test_completed_is_left_by_nothing_at_all() -> None:
    assert not [event for state, event in TRANSITIONS if state is State.COMPLETED]


def test_claiming_is_entered_by_nothing() -> None:
    assert State.CLAIMING not in TRANSITIONS.values()


def test_transcribed_is_shown_as_processing() -> None:
    assert State.TRANSCRIBED.shown == "processing"


@pytest.mark.parametrize("state", [state for state in State if state is not State.TRANSCRIBED])
def test_state_is_shown_by_its_own_word(state: State) -> None:
    assert state.shown == state.value


def test_refusal_speaks_the_words_that_people_see() -> None:
    with pytest.raises(IllegalTransition, match="A job that is processing can't be cancelled"):
        advance(State.TRANSCRIBED, Event.CANCELLED)


def test_job_ids_are_sixteen_hexadecimal_digits_and_differ() -> None:
    ids = {new_job_id() for _ in range(100)}

    assert len(ids) == 100
    assert all(len(job_id) == 16 and int(job_id, 16) >= 0 for job_id in ids)


def test_job_is_a_value_that_refuses_changes() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_job().state = State.FAILED  # type: ignore[misc]


def test_display_name_of_undecodable_bytes_is_valid_text() -> None:
    make_job(name=b"caf\xe9.mp3").display_name.encode("utf-8")

    assert make_job(name=b"caf\xe9.mp3").display_name == "caf�.mp3"


def test_source_path_of_undecodable_bytes_leads_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "caf\udce9.mp3").write_bytes(b"sound")

    assert make_job(source=b"caf\xe9.mp3").source_path(tmp_path).read_bytes() == b"sound"


def test_file_identity_ignores_what_our_own_rename_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    before = FileIdentity.of(path.lstat())

    assert FileIdentity.of(path.rename(tmp_path / "b.wav").lstat()) == before


def test_file_identity_of_a_longer_file_differs(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    before = FileIdentity.of(path.lstat())
    path.write_bytes(b"sounds")

    assert FileIdentity.of(path.lstat()) != before


def test_identity_of_a_file_whose_inode_number_uses_all_64_bits_fits_into_the_ledger() -> None:
    identity = FileIdentity.of(os.stat_result((0o100644, (1 << 64) - 2, 1, 1, 0, 0, 3000, 0, 0, 0)))
    assert identity.inode == -2
