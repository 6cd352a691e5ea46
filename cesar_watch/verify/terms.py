"""The words and numbers that a spool is made of, said a second time.

Nobody copies them from here, and here they are copied from nobody: a slip in the writer's own constants shows
as a finding instead of being shared.
"""

from __future__ import annotations

MARKER = ".cesar-watch"
TEMPORARY = b".cesar-"
PROBE = b".cesar-probe-"
CHECKPOINT = b".cesar-checkpoint.jsonl"
SIGN = b".cesar-alive"
REASON_ENDING = b".reason.txt"
SETTINGS_ENDING = b".toml"
SIDECAR_ENDING = b".status.json"
NAME_BYTES = 255

INBOX = b"inbox"
PROCESSING = b"processing"
OUTBOX = b"outbox"
ROOMS = (INBOX, PROCESSING, OUTBOX, b"archive", b"failed", b"duplicates")

APPLICATION_ID = 0x43535257
WAL_MAGICS = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
LEDGER_SCHEMAS = (1, 2, 3, 4, 5)
SIDECAR_SCHEMA = 1

CLAIMING = "claiming"
COMPLETED = "completed"
DUPLICATE = "duplicate"
FAILED_ROOM = b"failed"
UNFINISHED = frozenset({"pending", "processing", "transcribed"})
RESTING_ROOM = {COMPLETED: b"archive", "failed": FAILED_ROOM, "cancelled": FAILED_ROOM, DUPLICATE: b"duplicates"}
"""Where the recording of a job that ended lies, by the job's state."""
STATES = frozenset({CLAIMING, *UNFINISHED, *RESTING_ROOM})
SHOWN_STATES = frozenset({"pending", "processing", *RESTING_ROOM})
"""What a sidecar's status may be."""
DELETE_REQUESTS = frozenset({"delete", "delete_recording"})

NOTICE_STATES = frozenset({"pending", "sent", "dead"})
JOB_EVENTS = frozenset({COMPLETED, "failed", DUPLICATE})
"""Notices of these events are about a job."""

MAY_BE_EMPTY = frozenset({"txt", "srt", "md"})
"""Formats that may be an empty file when nobody speaks; md by a template without a word of its own."""
