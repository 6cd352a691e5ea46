"""Errors: each knows its kind, its code and its exit code; system faults name their remedy."""

from __future__ import annotations

import errno

import pytest

from cesar_watch.core import errors
from cesar_watch.core.errors import CesarError, Kind, folder_fault

CLASSES = [thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, CesarError)]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EROFS, "read_only"),
        (errno.EIO, "disk_error"),
        (errno.EACCES, "not_permitted"),
        (errno.ESTALE, "share_gone"),
        (errno.ENOTCONN, "share_gone"),
        (errno.ETIMEDOUT, "share_gone"),
        (errno.ENODEV, "share_gone"),
        (errno.EUCLEAN, "disk_error"),
        (errno.ENOENT, "spool_missing"),
        (errno.EXDEV, "spool_split"),
        (errno.EMFILE, "too_many_files"),
        (errno.ENOTDIR, "spool_unusable"),
    ],
)
def test_folder_fault_of_a_known_cause_has_its_code_and_is_systemic(number: int, reason: str) -> None:
    fault = folder_fault(OSError(number, "words of the system", "/spool/inbox"))

    assert (fault.reason, fault.kind, fault.exit_code) == (reason, Kind.SYSTEMIC, 3)
    assert "/spool/inbox" in str(fault)
    assert "words of the system" in str(fault)


def test_folder_fault_without_a_number_is_told_all_the_same() -> None:
    assert "something odd" in str(folder_fault(OSError("something odd")))


def test_error_with_a_reason_of_its_own_leaves_the_class_alone() -> None:
    assert errors.AttemptError("busy", reason="changed").reason == "changed"
    assert errors.AttemptError.reason == "attempt_failed"


def test_errors_have_a_reason_code_each() -> None:
    reasons = [one.reason for one in CLASSES]

    assert len(set(reasons)) == len(CLASSES) >= 10


def test_errors_that_pause_everything_are_the_spools_the_models_and_the_locks() -> None:
    systemic = {one.__name__ for one in CLASSES if one.kind is Kind.SYSTEMIC}

    assert systemic == {"SpoolError", "LedgerError", "ModelError", "AlreadyRunning"}
