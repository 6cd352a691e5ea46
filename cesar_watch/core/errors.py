"""Every error that a person may meet: its kind, its stable reason code, its exit code.

A message says what is wrong and what to do. The kind decides what happens to the
recording; nothing anywhere sorts errors by the words in their messages.
"""

from __future__ import annotations

import errno
from enum import Enum


class Kind(Enum):
    """What an error means for the recording that met it."""

    PERMANENT = "permanent"
    """This recording will never work: give it up at once."""
    TRANSIENT = "transient"
    """It may work later: try again with backoff, at most `retry.max_attempts` times."""
    SYSTEMIC = "systemic"
    """Not this recording's fault: pause everything, consume no attempt."""


class CesarError(Exception):
    """Base of all our errors; raise a subclass.

    Args:
        message: One sentence for a person: what is wrong and what to do.
        reason: A stable code, where one class serves several causes.
    """

    kind = Kind.PERMANENT
    reason = "internal"
    exit_code = 1

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class UsageError(CesarError):
    """The command or its arguments can't be carried out as given."""

    reason = "usage"
    exit_code = 2


class ConfigError(UsageError):
    """The settings are wrong; all faults are listed together with their paths."""

    reason = "bad_config"


class SpoolError(CesarError):
    """The spool can't be used: missing, not mounted, not writable, split over mounts."""

    kind = Kind.SYSTEMIC
    reason = "spool_unusable"
    exit_code = 3


class LedgerError(SpoolError):
    """The ledger can't be used: foreign, damaged, not writable."""

    reason = "ledger_unusable"


class ModelError(CesarError):
    """The model is absent, incomplete or can't be loaded on this machine."""

    kind = Kind.SYSTEMIC
    reason = "model_unusable"
    exit_code = 3


class AlreadyRunning(CesarError):
    """Another process owns this state directory."""

    kind = Kind.SYSTEMIC
    reason = "already_running"
    exit_code = 4


class RecordingError(CesarError):
    """This recording can't be transcribed, now or ever."""

    reason = "bad_recording"


class BadOverride(RecordingError):
    """A settings file for this recording is wrong; the message tells file, line and column."""

    reason = "bad_override"


class AttemptError(CesarError):
    """This attempt failed; another one may succeed."""

    kind = Kind.TRANSIENT
    reason = "attempt_failed"


class EngineLost(AttemptError):
    """The engine died while it worked on this recording and others: nobody knows over which, so this is no attempt."""

    reason = "engine_lost"


class Unfinished(AttemptError):
    """Whoever writes the recording has not finished: wait for them, however long; this is nobody's attempt."""

    reason = "being_written"


class NameTaken(CesarError):
    """The target name exists with other content; it was left alone."""

    kind = Kind.TRANSIENT
    reason = "name_taken"


class IllegalTransition(CesarError):
    """The state table has no entry for this pair of state and event."""

    reason = "illegal_transition"


class LeaseLost(CesarError):
    """Somebody else changed the job since it was read: stop, touch nothing."""

    kind = Kind.TRANSIENT
    reason = "lease_lost"


_SYSTEMIC_ERRNOS = {
    errno.ENOSPC: ("disk_full", "the disk is full: free some space"),
    errno.EDQUOT: ("disk_full", "the disk quota is used up: free some space"),
    errno.EROFS: ("read_only", "the filesystem is read-only: remount it writable"),
    errno.EIO: ("disk_error", "the disk reports an input/output error: check it"),
    errno.EREMOTEIO: ("disk_error", "the disk reports an input/output error: check it"),
    errno.EUCLEAN: ("disk_error", "the filesystem is damaged: check it"),
    errno.EACCES: ("not_permitted", "permission is refused: let the service's user write there"),
    errno.EPERM: ("not_permitted", "permission is refused: let the service's user write there"),
    errno.ESTALE: ("share_gone", "the share went away: mount it again"),
    errno.ENOTCONN: ("share_gone", "the share went away: mount it again"),
    errno.EHOSTDOWN: ("share_gone", "the share went away: mount it again"),
    errno.ETIMEDOUT: ("share_gone", "the share does not answer: see that its server runs"),
    errno.ENODEV: ("share_gone", "the disk went away: mount it again"),
    errno.ENXIO: ("share_gone", "the disk went away: mount it again"),
    errno.ENOENT: ("spool_missing", "a folder is gone: mount the share, or run `cesar-watch init` on it"),
    errno.EXDEV: ("spool_split", "the rooms of the spool lie on different mounts: put them under one mount"),
    errno.EMFILE: ("too_many_files", "this process may not open more files: raise LimitNOFILE"),
    errno.ENFILE: ("too_many_files", "this machine has no free file handles: close some programs"),
}


def folder_fault(fault: OSError) -> SpoolError:
    """Return the systemic error for an operating-system error on one of our own folders.

    Only for calls on the spool's rooms: an error while *reading inside a recording* is that
    recording's fault, whatever its number.
    """
    reason, remedy = _SYSTEMIC_ERRNOS.get(
        fault.errno or 0, ("spool_unusable", "see that the spool is there and writable")
    )
    where = f" at {fault.filename!s}" if fault.filename else ""
    return SpoolError(f"The spool can't be used{where}: {remedy} ({fault.strerror or fault}).", reason=reason)
