"""Look through a whole spool, and a second time at what seemed wrong: beside a running service things move.

First the ledger is read, in one transaction, then the folders. Whatever does not fit is looked at again
with a new reading of both. It is a finding only if it is still there and the row of its job is as it was.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cesar_watch.verify.finding import Finding
from cesar_watch.verify.folders import Folders
from cesar_watch.verify.ledger import Book, CannotLook, read_book
from cesar_watch.verify.outbox import check_outputs, check_reason, check_sidecar, check_stray_sidecars
from cesar_watch.verify.recordings import (
    Reads,
    check_names,
    check_processing,
    check_recording,
    check_temporary,
    other_instances,
)
from cesar_watch.verify.terms import DELETE_REQUESTS, MARKER, TEMPORARY

SETTLE_S = 1.0
"""How long a running service has to finish a step, a rename with its commit, between the two looks."""

Progress = Callable[[int, int], None]
"""Told after each job: how many are done, of how many."""


@dataclass(frozen=True)
class Report:
    """What a spool looked like. `others` are the instances whose jobs were not looked at."""

    jobs: int
    files: int
    findings: list[Finding]
    others: list[str]


@dataclass(frozen=True)
class _Look:
    book: Book
    report: Report


@dataclass(frozen=True)
class Examination:
    """How to look through a spool; nothing is ever written.

    Attributes:
        is_running: Whether a service owns the state directory, asked at each look.
        quick: Hash only the recordings whose size or time changed, and no outputs.
        wait: Lets seconds pass between the two looks.
    """

    root: Path
    state_dir: Path
    is_running: Callable[[], bool]
    quick: bool = False
    progress: Progress = lambda done, total: None
    wait: Callable[[float], None] = time.sleep

    def run(self) -> Report:
        """Return what is wrong, in the order of ledger, jobs, folders.

        Raises:
            CannotLook: There is no spool, or a part of it can't be read.
        """
        first = self._look(lambda job_id: not self.quick)
        if not first.report.findings:
            return first.report
        if self.is_running():
            self.wait(SETTLE_S)
        suspects = {finding.job_id for finding in first.report.findings}
        second = self._look(lambda job_id: not self.quick and job_id in suspects)
        seen_twice = set(first.report.findings)
        findings = [
            finding
            for finding in second.report.findings
            if finding in seen_twice and _row(first.book, finding) == _row(second.book, finding)
        ]
        report = second.report
        return Report(report.jobs, report.files, findings, report.others)

    def _look(self, reads: Reads) -> _Look:
        spool_id, running = _read_marker(self.root), self.is_running()
        instance = _read_instance(self.state_dir)
        ledger_path = self.state_dir / "ledger.db"
        shown_path = self._relative(ledger_path)
        try:
            has_ledger = ledger_path.exists() and ledger_path.stat().st_size > 0
            book = read_book(ledger_path, shown_path, spool_id) if has_ledger else Book(shown_path)
            folders = Folders(self.root)
            findings = list(book.findings)
            if has_ledger and instance is None:
                findings.append(Finding("instance_damaged", self._relative(self.state_dir / "instance")))
            if book.is_readable:
                compared = list(self._compare(book, folders, instance, reads, running=running))
                if not has_ledger and any(finding.job_id for finding in compared):
                    compared = [Finding("ledger_missing", shown_path)]
                findings += compared
            findings += [Finding("unreadable", folder) for folder in folders.closed]
            if not running:
                findings += self._left_beside(folders, instance)
        except OSError as fault:
            raise CannotLook(
                f"The spool can't be looked at ({fault}): mount the share, or run as a user who may read it."
            ) from None
        others = other_instances(folders, instance)
        return _Look(book, Report(len(book.rows), folders.count, findings, others))

    def _compare(
        self, book: Book, folders: Folders, instance: bytes | None, reads: Reads, *, running: bool
    ) -> Iterator[Finding]:
        for number, entry in enumerate(book.entries.values(), 1):
            if entry.request not in DELETE_REQUESTS:  # half of it may be gone already
                yield from check_recording(entry, folders, reads)
                yield from check_outputs(entry, folders, reads)
                yield from check_sidecar(entry, folders)
                yield from check_reason(entry, folders)
            self.progress(number, len(book.entries))
        yield from check_names(book, folders)
        yield from check_processing(book, folders, instance, running=running)
        alone = not other_instances(folders, instance)
        yield from check_stray_sidecars(book, folders, instance, alone=alone)

    def _left_beside(self, folders: Folders, instance: bytes | None) -> Iterator[Finding]:
        yield from check_temporary(folders, instance)
        for folder in (self.root, self.state_dir):
            if folder.is_dir():
                names = sorted(name for name in os.listdir(os.fsencode(folder)) if name.startswith(TEMPORARY))
                paths = [folder / os.fsdecode(name) for name in names if name != os.fsencode(MARKER)]
                yield from (Finding("temporary_left", self._relative(path)) for path in paths)

    def _relative(self, path: Path) -> bytes:
        return os.fsencode(path.relative_to(self.root) if path.is_relative_to(self.root) else path)


def _row(book: Book, finding: Finding) -> int | None:
    return book.rows.get(finding.job_id or "")


def _read_marker(root: Path) -> str:
    try:
        return str(json.loads((root / MARKER).read_bytes())["spool_id"])
    except OSError as fault:
        raise CannotLook(
            f"There is no spool at {root} ({fault.strerror}): mount the share, or run `cesar-watch init {root}`."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise CannotLook(f"The marker {root / MARKER} is damaged: restore it from a backup.") from None


def _read_instance(state_dir: Path) -> bytes | None:
    try:
        content = (state_dir / "instance").read_bytes().strip()
    except OSError:
        return None
    return content if re.fullmatch(rb"[0-9a-f]{8}", content) else None
