"""Which calls of a life are tried where only a state of its own counts."""

from __future__ import annotations

from tests.faults.calls import outside_of_transactions, states
from tests.faults.preload import Action

WRITTEN = (
    "1 open64 /spool/.cesar-1",
    "2 write /spool/.cesar-1",
    "3 fsync /spool/.cesar-1",
    "4 renameat2 /spool/.cesar-1 -> /spool/outbox/talk.txt",
    "5 unlink /spool/.cesar-1",
    "6 fsync /spool/outbox",
)
COMMITTED = tuple(f"{number} pwrite64 /spool/ledger.db-wal" for number in range(1, 6))


def test_write_has_a_state_before_it_one_with_a_temporary_file_and_one_with_the_file() -> None:
    assert states(WRITTEN) == [(1, Action.KILL_BEFORE), (2, Action.KILL_AFTER), (4, Action.KILL_AFTER)]


def test_file_that_is_seen_while_it_is_written_has_a_state_empty_too() -> None:
    in_place = ["1 open64 /spool/outbox/talk.txt", "2 write /spool/outbox/talk.txt"]

    assert states(in_place) == [(1, Action.KILL_BEFORE), (1, Action.KILL_AFTER), (2, Action.KILL_AFTER)]


def test_temporary_file_that_is_unlinked_without_having_been_renamed_has_a_state_without_it() -> None:
    taken = ["1 open64 /spool/.cesar-1", "2 write /spool/.cesar-1", "3 unlink /spool/.cesar-1"]

    assert states(taken)[-1] == (3, Action.KILL_AFTER)


def test_first_and_last_write_stand_for_a_transaction() -> None:
    assert outside_of_transactions(COMMITTED) == [1, 5]
    assert [at for at, _ in states(COMMITTED)] == [1, 1, 5]
