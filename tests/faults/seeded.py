"""Wrong protocols, to see that the sweeps see: each is patched into a child before it lives, never into the product.

A sweep that reports zero proves nothing unless it reports these. `caught_by` names where each is looked for, the
sweep that is quickest to see it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from playhouse.apsw_ext import APSWDatabase

from cesar_watch.core import durable, ledger, notice_queue
from cesar_watch.core.errors import NameTaken, RecordingError
from cesar_watch.core.job import Event, FileIdentity, Job, State, advance
from cesar_watch.core.tables import JobRow
from cesar_watch.delivery import kept, names, publish, reason_file, sidecar
from cesar_watch.intake import claim, copying
from cesar_watch.service import attempt, courier, duplicates, endings, recovery, retrying, sources

KILL, ERRNO, POWER, CRASHING = "kill", "errno", "power", "crashing"


@dataclass(frozen=True)
class Bug:
    """One wrong protocol.

    Attributes:
        name: What is wrong, in a few words.
        plant: Patches it into this process.
        sweep: The sweep that must see it.
        where: The scenarios in which it is looked for; for power loss the kinds of filesystem, KIND or KIND:SCENARIO.
        shows_itself: Whether it is seen without any fault. The others must not be: what is seen then is a mistake in
            how they are planted, and whether a sweep sees the bug is not known.
    """

    name: str
    plant: Callable[[], None]
    sweep: str
    where: tuple[str, ...] = ("one",)
    shows_itself: bool = False


def swap(right: Any, wrong: Any) -> None:
    """Put `wrong` in the place of a function in every module of ours that has it."""
    found = 0
    for name, module in list(sys.modules.items()):
        if name.startswith("cesar_watch"):
            for key, value in list(vars(module).items()):
                if value is right:
                    setattr(module, key, wrong)
                    found += 1
    assert found, f"{right} is nowhere"


def put(owner: Any, name: str, wrong: Any) -> None:
    """Put `wrong` in the place of a method, or of a function of the standard library."""
    setattr(owner, name, wrong)


# --- what is synced, and when ------------------------------------------------------------------------


def _no_directory_sync() -> None:
    swap(durable.sync_dir, lambda _: None)


def _no_file_sync() -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            real(descriptor)

    put(os, "fsync", fsync)


def _destination_synced_first() -> None:
    def finish_move(source: Path, target: Path) -> None:
        durable.sync_dir(target.parent)
        durable.sync_dir(source.parent)

    swap(durable.finish_move, finish_move)


def _old_name_of_a_link_goes_first() -> None:
    def link_noreplace(source: Path, target: Path) -> None:
        os.link(source, target, follow_symlinks=False)
        os.unlink(source)

    swap(durable.link_noreplace, link_noreplace)


def _pragma(name: str, value: str) -> Callable[[], None]:
    def plant() -> None:
        real: Any = APSWDatabase.__init__

        def init(self: Any, database: str, pragmas: dict[str, Any] | None = None, **rest: Any) -> None:
            real(self, database, pragmas={**(pragmas or {}), name: value}, **rest)

        put(APSWDatabase, "__init__", init)

    return plant


def _fault_of_a_sync_ignored() -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        with contextlib.suppress(OSError):
            real(descriptor)

    put(os, "fsync", fsync)


# --- how things are moved and written ----------------------------------------------------------------


def _rename_replaces() -> None:
    swap(durable.rename_noreplace, os.replace)


def _move_by_copy() -> None:
    def copy(source: Path, target: Path) -> None:
        if os.path.lexists(target):
            raise FileExistsError(str(target))
        shutil.copyfile(source, target)
        os.unlink(source)

    _use_rename(copy)


def _move_by_unlinking_first() -> None:
    def rewrite(source: Path, target: Path) -> None:
        if os.path.lexists(target):
            raise FileExistsError(str(target))
        content = source.read_bytes()
        os.unlink(source)
        target.write_bytes(content)

    _use_rename(rewrite)


def _use_rename(wrong: Callable[[Path, Path], None]) -> None:
    """Use another primitive for every move between rooms."""

    def move(source: Path, target: Path, **_: Any) -> None:
        wrong(source, target)
        durable.sync_dir(source.parent)
        durable.sync_dir(target.parent)

    swap(durable.move, move)


def _output_in_place() -> None:
    def write_new(target: Path, pieces: Iterable[bytes], **_: Any) -> None:
        content = b"".join(pieces)
        if target.exists() and target.read_bytes() != content:
            raise NameTaken(f"{target} exists already")
        with target.open("wb") as stream:
            stream.write(content)
            os.fsync(stream.fileno())
        durable.sync_dir(target.parent)

    swap(durable.write_new, write_new)


def _replaced_in_place() -> None:
    def write_replace(target: Path, content: bytes, **_: Any) -> None:
        with target.open("wb") as stream:
            stream.write(content)
            os.fsync(stream.fileno())

    swap(durable.write_replace, write_replace)


def _random_output_names() -> None:
    swap(names.output_name, lambda base, ending: f"{base}-{secrets.token_hex(4)}.{ending}")
    swap(sidecar.sidecar_path, lambda spool, job: spool.output_dir(job) / f"{job.base}.status.json")


def _names_not_looked_at() -> None:
    """A stranger's file of the output's name is replaced."""
    swap(names.is_taken, lambda *_: False)
    swap(publish._holds_other, lambda *_: False)
    swap(
        durable.write_new,
        lambda target, content, *, staging, **_: durable.write_replace(target, b"".join(content), staging=staging),
    )


def _temporary_files_left() -> None:
    """They are written where no start sweeps them."""
    real = durable._write_temporary
    swap(real, lambda pieces, staging: real(pieces, staging.parent))


# --- the order of files and commits -------------------------------------------------------------------


def _claim_committed_before_the_rename() -> None:
    def wrong(
        candidate: Any, spool: Any, ledger_: Any, *, options: Any, bases: Any, announce: Any, now: Any, **rest: Any
    ) -> Job:
        intent = claim._intent(candidate, spool, options)
        job = ledger_.log_intent(intent, bases, now, error=rest.get("fault"))
        target = spool.absolute(intent.moving_to)
        job = ledger_.apply(job, Event.CLAIMED, now, source=intent.moving_to, moving_to=None)
        durable.make_dirs(target.parent, below=spool.processing)
        spool.take_in(candidate.path, target)
        done: Job = announce(ledger_.update(job, now, identity=FileIdentity.of(os.lstat(target))))
        return done

    swap(claim.claim, wrong)


def _claim_forgotten_by_recovery() -> None:
    """A claim that died behind its rename is taken for one that never happened, and its folder is swept."""

    def recover_claims(house: Any) -> None:
        for job in house.ledger.jobs([State.CLAIMING]):
            shutil.rmtree(house.spool.job_dir(job.job_id), ignore_errors=True)
            house.ledger.withdraw(job)

    swap(recovery.recover_claims, recover_claims)


def _completed_before_the_archive() -> None:
    def rest(house: Any, job: Job, room: str, event: Event, *, text: str = "") -> Job:
        spool, source = house.spool, job.source_path(house.spool.root)
        job, target = endings._resting_place(house, job, room)
        ending = {"source": spool.relative(target), "moving_to": None, "lease": None, "request": None}
        ending |= {"completed_at": house.clock.now(), "progress": 100.0, "not_before_at": None}
        notices = endings._notices(house, dataclasses.replace(job, state=advance(job.state, event), **ending), text)
        done = house.ledger.apply(job, event, house.clock.now(), notices=notices, **ending)
        sidecar.write_sidecar(spool, done)
        if room == "failed" and done.error:
            reason_file.write_reason(spool, done, target, done.error)
        spool.move(source, target)
        endings.remove_job_dir(spool.job_dir(job.job_id))
        return cast(Job, done)

    swap(endings._rest, rest)


def _archived_before_the_outputs() -> None:
    real = endings.complete

    def complete(house: Any, job: Job, transcript: Any, **rest: Any) -> Job:
        job, target = endings._resting_place(house, job, "archive")
        source = job.source_path(house.spool.root)
        if source.exists():
            house.spool.move(source, target)
        return real(house, job, transcript, **rest)

    swap(real, complete)


def _duplicate_moved_before_its_sidecar() -> None:
    real = endings.rest_as_duplicate

    def rest_as_duplicate(house: Any, job: Job) -> Job:
        job, target = endings._resting_place(house, job, "duplicates")
        source = job.source_path(house.spool.root)
        if source.exists():
            house.spool.move(source, target)
        return real(house, job)

    swap(real, rest_as_duplicate)


def _recognised_without_its_twin() -> None:
    """The copy is taken for a duplicate while the first is still to be transcribed."""
    real = duplicates.find_twin

    def find_twin(house: Any, job: Job) -> Job | None:
        twin = real(house, job)
        if twin is None or twin.state is State.COMPLETED:
            return twin
        outputs = {names.output_name(twin.base, fmt): "0" * 64 for fmt in twin.options["output"]["formats"]}
        return dataclasses.replace(twin, state=State.COMPLETED, outputs=list(outputs), outputs_sha256=outputs)

    swap(real, find_twin)


def _archived_without_intent() -> None:
    def resting_place(house: Any, job: Job, room: str) -> tuple[Job, Path]:
        source = job.source_path(house.spool.root)
        if not os.path.lexists(source):
            return job, source
        companions = [reason_file.reason_path] if room == "failed" else []
        return job, house.spool.resting_place(room, job, companions=companions)

    swap(endings._resting_place, resting_place)


def _final_sidecar_before_the_outputs() -> None:
    real = publish.publish

    def wrong(spool: Any, job: Job, transcript: Any) -> Any:
        names_ = [names.output_name(job.base, fmt) for fmt in job.options["output"]["formats"]]
        with contextlib.suppress(NameTaken):
            sidecar.write_sidecar(spool, dataclasses.replace(job, state=State.COMPLETED, outputs=names_))
        return real(spool, job, transcript)

    swap(real, wrong)


def _transcript_kept_after_the_end() -> None:
    real_keep, real = kept.keep, endings.complete

    def complete(house: Any, job: Job, transcript: Any) -> Job:
        # Its windows are in the checkpoint, which goes with the job's folder.
        transcript = dataclasses.replace(transcript, windows=tuple(transcript.windows))
        done = real(house, job, transcript)
        real_keep(house.settings.state_dir, done, transcript)
        return done

    put(kept, "keep", lambda *_: None)
    swap(real, complete)


def _reason_after_the_commit() -> None:
    real_write, real_rest = reason_file.write_reason, endings._rest

    def rest(house: Any, job: Job, room: str, event: Event, *, text: str = "") -> Job:
        done = real_rest(house, job, room, event, text=text)
        if room == "failed" and done.error:
            real_write(house.spool, done, done.source_path(house.spool.root), done.error)
        return done

    swap(real_write, lambda *_: None)
    swap(real_rest, rest)


def _link_not_finished_by_recovery() -> None:
    def finish_move(source: Path, target: Path) -> None:
        durable.sync_dir(source.parent)
        durable.sync_dir(target.parent)

    swap(durable.finish_move, finish_move)


# --- the ledger ----------------------------------------------------------------------------------------


def _notice_outside_the_transaction() -> None:
    real = ledger.Ledger.apply

    def apply(self: Any, job: Job, event: Event, now: Any, *, notices: Sequence[Any] = (), **rest: Any) -> Job:
        done = real(self, job, event, now, **rest)
        if notices:
            with self._database.atomic("IMMEDIATE"):
                self.notices.add(notices, now)
        return done

    put(ledger.Ledger, "apply", apply)


def _history_outside_the_transaction() -> None:
    real = ledger.Ledger.apply

    def apply(self: Any, job: Job, event: Event, now: Any, **rest: Any) -> Job:
        target = advance(job.state, event)
        with self._database.atomic("IMMEDIATE"):
            JobRow.update(state=target).where(JobRow.seq == job.seq).execute(self._database)
        with self._database.atomic("IMMEDIATE"):
            JobRow.update(state=job.state).where(JobRow.seq == job.seq).execute(self._database)
        return real(self, job, event, now, **rest)

    put(ledger.Ledger, "apply", apply)


def _lease_not_checked() -> None:
    def compare_and_set(self: Any, job: Job, columns: Any) -> None:
        JobRow.update(**columns).where(JobRow.seq == job.seq).execute(self._database)

    put(ledger.Ledger, "_compare_and_set", compare_and_set)
    put(attempt.Attempt, "_fresh", lambda self: self._job)


def _attempt_counted_after_decoding() -> None:
    real = ledger.Ledger.apply

    def apply(self: Any, job: Job, event: Event, now: Any, **rest: Any) -> Job:
        if event is Event.LEASED:
            rest["attempts"] = job.attempts
        if event is Event.TRANSCRIBED:
            rest["attempts"] = max(1, job.attempts)
        if event is Event.RETRY_LATER:
            rest["attempts"] = job.attempts + 1
        return real(self, job, event, now, **rest)

    put(ledger.Ledger, "apply", apply)


def _marked_sent_before_sending() -> None:
    real = courier.Courier._send

    def send(self: Any, queued: Any) -> Any:
        self._house.ledger.notices.sent(queued, self._house.clock.now())
        return real(self, queued)

    put(courier.Courier, "_send", send)


def _sent_and_never_marked() -> None:
    """Every start sends everything again."""
    put(notice_queue.NoticeQueue, "sent", lambda *_: None)


# --- whose recording it is -----------------------------------------------------------------------------


def _copied_under_its_own_name() -> None:
    def copy_source(source: Path, stamp: Any, target: Path, poll: Callable[[], None], **_: Any) -> str:
        with copying.open_source(source, stamp) as descriptor, target.open("xb") as copy:
            return copying._copy(source, descriptor, copy.fileno(), poll)

    swap(copying.copy_source, copy_source)


def _source_remembered_after_the_commit() -> None:
    real = ledger.Ledger.apply

    def apply(self: Any, job: Job, event: Event, now: Any, *, taken: Any = None, **changes: Any) -> Job:
        done = real(self, job, event, now, **changes)
        if taken is not None:
            self.taken.recognise(taken, taken.path, taken.stamp)
        return done

    put(ledger.Ledger, "apply", apply)


def _copy_removed_without_its_source() -> None:
    def resting_source(house: Any, job: Job) -> Path | None:
        return house.spool.inbox / os.fsdecode(os.path.join(job.subfolder, job.name)) if job.is_copied else None

    swap(sources.resting_source, resting_source)


# --- whose fault it is ---------------------------------------------------------------------------------


def _systemic_faults_consume_attempts() -> None:
    real = retrying._queue_again

    def queue_again(house: Any, job: Job, event: Event, reason: str, **changes: Any) -> Job:
        changes.pop("attempts", None)
        return real(house, job, event, reason, **changes)

    swap(real, queue_again)


def _folder_faults_taken_for_the_recordings() -> None:
    def folder_fault(fault: OSError) -> Exception:
        return RecordingError(f"{fault}", reason="bad_recording")

    put(attempt, "folder_fault", folder_fault)


BUGS: tuple[Bug, ...] = (
    Bug("no folder is synced", _no_directory_sync, POWER, ("btrfs", "ext4-two")),
    Bug("no file is synced", _no_file_sync, POWER, ("ext4", "ext4-two")),
    Bug("the destination folder is synced first", _destination_synced_first, POWER, ("btrfs",)),
    Bug("a link's old name goes first", _old_name_of_a_link_goes_first, POWER, ("btrfs:link-only-mount",)),
    Bug("synchronous=NORMAL", _pragma("synchronous", "normal"), POWER, ("ext4", "ext4-two")),
    Bug("synchronous=OFF", _pragma("synchronous", "off"), POWER, ("ext4", "ext4-two")),
    Bug("a rename replaces", _rename_replaces, KILL, ("archive-name-taken-at-the-last-moment",), shows_itself=True),
    Bug("moved by copy and unlink", _move_by_copy, KILL),
    Bug("moved by unlink and write", _move_by_unlinking_first, KILL),
    Bug("outputs written in place", _output_in_place, KILL),
    Bug("sidecars replaced in place", _replaced_in_place, KILL),
    Bug("random output names", _random_output_names, KILL, shows_itself=True),
    Bug("names in the outbox not looked at", _names_not_looked_at, KILL, ("outbox-name-taken",), shows_itself=True),
    Bug("temporary files left", _temporary_files_left, KILL),
    Bug("claim committed before the rename", _claim_committed_before_the_rename, KILL),
    Bug("a half claim swept by recovery", _claim_forgotten_by_recovery, KILL),
    Bug("completed committed before the archive", _completed_before_the_archive, KILL),
    Bug("archived before the outputs", _archived_before_the_outputs, KILL),
    Bug("a duplicate moved before its sidecar", _duplicate_moved_before_its_sidecar, KILL, ("duplicate",)),
    Bug(
        "recognised before the first is transcribed",
        _recognised_without_its_twin,
        KILL,
        ("duplicate-waits-for-a-passing-trouble",),
    ),
    Bug("archived without an intent in the ledger", _archived_without_intent, KILL),
    Bug("final sidecar before the outputs", _final_sidecar_before_the_outputs, KILL),
    Bug("transcript kept after the end", _transcript_kept_after_the_end, KILL),
    Bug("reason file after the commit", _reason_after_the_commit, KILL, ("failing",)),
    Bug("a half link-and-unlink never finished", _link_not_finished_by_recovery, KILL, ("link-only-mount",)),
    Bug("notice outside the transaction", _notice_outside_the_transaction, KILL),
    Bug("history outside the transaction", _history_outside_the_transaction, KILL),
    Bug("lease not checked", _lease_not_checked, KILL, ("lease-lost-at-the-last-moment",), shows_itself=True),
    Bug("notice marked before it is sent", _marked_sent_before_sending, KILL),
    Bug("notice never marked as sent", _sent_and_never_marked, KILL, shows_itself=True),
    Bug("journal in memory", _pragma("journal_mode", "memory"), KILL),
    Bug("attempt counted after decoding", _attempt_counted_after_decoding, CRASHING),
    Bug("copied under its own name", _copied_under_its_own_name, KILL, ("copied",)),
    Bug("a source remembered after the commit", _source_remembered_after_the_commit, KILL, ("copied",)),
    Bug(
        "a copy removed without its source",
        _copy_removed_without_its_source,
        KILL,
        ("copied-and-withdrawn",),
        shows_itself=True,
    ),
    Bug("systemic faults consume attempts", _systemic_faults_consume_attempts, ERRNO),
    Bug("folder faults taken for the recording's", _folder_faults_taken_for_the_recordings, ERRNO),
)
