"""What may be found: every code with its two sentences, what is wrong and what to do. Codes are stable."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

_REPAIR = "`cesar-watch verify --repair`"
_REBUILD = "`cesar-watch ledger rebuild` keeps it aside and makes a new one from the folders"
_BY_HAND = "Put it back from a backup, or `cesar-watch delete {job}` and drop the recording again."

SENTENCES: dict[str, tuple[str, str]] = {
    # --- ledger
    "ledger_missing": (
        "There is no ledger, though the spool holds jobs.",
        f"{_REPAIR} rebuilds it from folders and sidecars.",
    ),
    "ledger_foreign": (
        "This is not a ledger of cesar-watch ({detail}).",
        f"Correct spool.state_dir; or {_REBUILD}.",
    ),
    "ledger_version": (
        "The ledger has schema {detail}, which this version does not know.",
        f"Use the version of cesar-watch that made it; or {_REBUILD}.",
    ),
    "ledger_other_spool": (
        "The ledger belongs to the spool {detail}, and the marker names another one.",
        f"Correct spool.root or spool.state_dir; or {_REBUILD}.",
    ),
    "ledger_damaged": (
        "The ledger is damaged ({detail}).",
        f"Stop the service; {_REPAIR} keeps the ledger aside and makes a new one from the folders.",
    ),
    "instance_damaged": (
        "The instance's id, eight hexadecimal digits, can't be read.",
        "Write the name of this instance's folder in processing/ into it.",
    ),
    "row_damaged": (
        "The row of this job can't be understood ({detail}).",
        f"Stop the service; {_REPAIR} keeps the ledger aside and makes a new one from the folders.",
    ),
    "history_broken": (
        "The job's history does not lead to its state ({detail}).",
        "Nothing is lost by it; please report it with the output of `cesar-watch show {job}`.",
    ),
    "notice_wrong": (
        "A notice in the ledger can't be right ({detail}).",
        "Nothing is lost by it; please report it with the output of `cesar-watch notify list`.",
    ),
    # --- recordings
    "recording_lost": (
        "The recording of a job that is {detail} is not there.",
        f"{_REPAIR} finds it by its sidecar if it is at rest; else drop it again, then `cesar-watch delete {{job}}`.",
    ),
    "recording_gone": (
        "The recording of a job that ended is no longer there.",
        f"If you took it away, `--ignore recording_gone`; else put it back, or try {_REPAIR}.",
    ),
    "recording_changed": (
        "The recording is not the one that was transcribed ({detail}).",
        "Put the original back from a backup, or `cesar-watch delete {job}` and drop this one into the inbox.",
    ),
    "recording_changing": (
        "The claimed recording is not as it was claimed ({detail}).",
        "If its sender still writes it, wait: it is transcribed as it is then; else put the original back.",
    ),
    "recording_replaced": (
        "Where the recording should lie is {detail}.",
        "Move it away and put the recording back.",
    ),
    "recording_misplaced": (
        "The job is {detail}, and its recording does not lie in the room for that.",
        "Please report it with the output of `cesar-watch show {job}`; leave the recording where it is.",
    ),
    "recording_twice": (
        "One file has several names in the spool, here and as {detail}.",
        f"{_REPAIR} ends a move that died half-way; a link of your own you may take away.",
    ),
    "recording_shared": (
        "Two jobs claim this one recording, the other is {detail}.",
        "See both with `cesar-watch show`; drop the missing recording again, then delete the wrong job.",
    ),
    "unreadable": ("It can't be read.", "Let your user read it, and see that its disk is well."),
    # --- processing
    "folder_unknown": (
        "A claimed recording lies here that the ledger does not know.",
        f"{_REPAIR} queues it again.",
    ),
    "file_foreign": (
        "Only cesar-watch puts files into processing/, and this is none of its own.",
        "Move it away, or into the inbox if it is a recording.",
    ),
    "temporary_left": (
        "A temporary file or an empty folder was left behind by a run that ended early.",
        f"The next start, or {_REPAIR}, takes it away.",
    ),
    # --- outbox
    "output_missing": (
        "A transcript of a completed job is not there.",
        "If you took it away, `--ignore output_missing`; else put it back from a backup.",
    ),
    "output_replaced": ("Where a transcript should lie is {detail}.", "Move it away. " + _BY_HAND),
    "output_changed": ("The transcript was edited or damaged after it was published.", _BY_HAND),
    "output_empty": ("The transcript is empty, which this format never is.", _BY_HAND),
    "output_damaged": ("The transcript is not valid JSON.", _BY_HAND),
    "nothing_decoded": (
        "The job is completed, and nothing tells that a second of its recording was decoded.",
        "See whether the recording plays; `cesar-watch delete {job}` and drop it again.",
    ),
    "outputs_incomplete": (
        "The job is completed without the formats it was to have ({detail}).",
        "`cesar-watch delete {job}` and drop the recording again.",
    ),
    "duplicate_dangling": (
        "A transcript that this duplicate shares with job {detail} is not there.",
        "Put it back; or `cesar-watch retry {job}` transcribes this recording by itself.",
    ),
    "sidecar_missing": (
        "The job has no sidecar where its outputs belong.",
        f"{_REPAIR} writes it again from the ledger.",
    ),
    "sidecar_foreign": (
        "Where the job's sidecar belongs is another file ({detail}).",
        f"Move it away; then {_REPAIR} writes the sidecar again from the ledger.",
    ),
    "sidecar_differs": (
        "The sidecar does not say what the ledger says ({detail}).",
        f"If nobody needs it as it is, move it away; then {_REPAIR} writes it again from the ledger.",
    ),
    "sidecar_twice": (
        "This job's own sidecar is {detail}, and here is another one.",
        "Move this one away.",
    ),
    "sidecar_orphan": (
        "A sidecar tells of a job that the ledger does not know, and of a recording that is not there.",
        "Move it away if nobody needs it.",
    ),
    "row_missing": (
        "Sidecar and recording of a job are there, and the ledger does not know it.",
        f"{_REPAIR} restores its row.",
    ),
    # --- failed
    "reason_missing": (
        "The recording lies in failed/ without its reason file.",
        f"{_REPAIR} writes it again from the ledger.",
    ),
    "reason_foreign": (
        "Where the reason for a failed recording belongs is another file.",
        f"Move it away; then {_REPAIR} writes the reason again from the ledger.",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    `path` is the raw bytes, relative to the spool's root, or absolute where it lies outside of it.
    """

    code: str
    path: bytes
    job_id: str | None = None
    detail: str = ""

    @property
    def message(self) -> str:
        """What is wrong, in a sentence."""
        return SENTENCES[self.code][0].format(detail=self.detail)

    @property
    def remedy(self) -> str:
        """What to do, in a sentence or two."""
        return SENTENCES[self.code][1].format(job=self.job_id)

    @property
    def shown_path(self) -> str:
        """The path as valid text without control characters: what isn't is escaped."""
        return shown(self.path)

    def as_mapping(self) -> dict[str, Any]:
        """Return the finding for `--json`; `path_b64` has the bytes of a path that isn't UTF-8."""
        fields: dict[str, Any] = {"code": self.code, "path": self.shown_path}
        try:
            fields["path"] = self.path.decode()
        except UnicodeDecodeError:
            fields["path_b64"] = base64.b64encode(self.path).decode()
        return fields | {"message": self.message, "remedy": self.remedy, "job_id": self.job_id}


def shown(path: bytes) -> str:
    r"""Return a path as text that is safe to print: `b"a\xff\n"` becomes `a\xff\x0a`."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)
