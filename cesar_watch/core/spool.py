"""The folder tree: its rooms, its marker, the proof that it is one mount, and where a recording rests.

A rename is the only way in and out of a room, and whoever's rename succeeds owns the file
(the idea is Maildir's). How a rename is made durable stands in `core/durable.py`.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cesar_watch.core.companions import beside, cut, name_limit
from cesar_watch.core.durable import (
    TEMPORARY_PREFIX,
    Rename,
    finish_move,
    make_dirs,
    move,
    rename_into_own,
    rename_noreplace,
    sync_dir,
    write_new,
)
from cesar_watch.core.errors import NameTaken, SpoolError, folder_fault
from cesar_watch.core.job import Job

MARKER = ".cesar-watch"
INBOX = Path("inbox")
ROOMS = ("inbox", "processing", "outbox", "archive", "failed", "duplicates")

PROBE_BYTES = 4096
"""A disk that takes no single block more is full, though an empty file may still fit into it."""

_ONE_FILES_OWN = {errno.EPERM, errno.EACCES, errno.EBUSY, errno.ETXTBSY}
"""What a rename says of one file that is immutable, somebody else's, or held open by a Windows client."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Spool:
    """One spool as one instance sees it. A value: safe to share between threads.

    `rename` is the primitive by which files change rooms; only filesystems that can't do
    RENAME_NOREPLACE, and tests, need another one. With `is_inbox_foreign` the inbox belongs to somebody else, and
    nothing is ever written into it; it may then lie at `inbox_elsewhere`, on any mount, and is still called `inbox/` in
    the paths that ledger and sidecars hold.
    """

    root: Path
    instance: str
    spool_id: str
    rename: Rename = rename_noreplace
    is_inbox_foreign: bool = False
    inbox_elsewhere: Path | None = None

    @property
    def inbox(self) -> Path:
        """Where recordings are dropped."""
        return self.inbox_elsewhere or self.root / INBOX

    @property
    def outbox(self) -> Path:
        """Where transcripts and sidecars appear."""
        return self.root / "outbox"

    @property
    def processing(self) -> Path:
        """This instance's claimed recordings, a folder each."""
        return self.root / "processing" / self.instance

    def job_dir(self, job_id: str) -> Path:
        """The folder in which a claimed recording lies, with its checkpoint."""
        return self.processing / job_id

    def output_dir(self, job: Job) -> Path:
        """The folder in the outbox that mirrors the inbox folder the recording came from."""
        return self.outbox / os.fsdecode(job.subfolder)

    def relative(self, path: Path) -> bytes:
        """Return a path's bytes relative to the root, as the ledger stores them; those in the inbox begin with it."""
        if path.is_relative_to(self.inbox):
            return os.fsencode(INBOX / path.relative_to(self.inbox))
        return os.fsencode(path.relative_to(self.root))

    def absolute(self, relative: bytes) -> Path:
        """Undo `relative`."""
        path = Path(os.fsdecode(relative))
        return self.inbox / path.relative_to(INBOX) if path.is_relative_to(INBOX) else self.root / path

    def check(self) -> None:
        """See that the spool is there and is the one that was opened.

        Raises:
            SpoolError: The marker is gone (share not mounted) or names another spool. Nothing was written.
        """
        if read_marker(self.root) != self.spool_id:
            raise SpoolError(
                f"Another spool lies at {self.root} than the one that was opened: "
                "mount the right share, or restart if this is meant.",
                reason="spool_changed",
            )

    def holds(self, path: Path) -> bool:
        """Whether something lies at `path`; a link that leads nowhere does.

        Raises:
            SpoolError: Nothing can be seen there, but the spool itself can't be seen either: that proves nothing.
        """
        if os.path.lexists(path):
            return True
        self.check()
        return False

    def prove_one_mount(self) -> None:
        """Take away what a killed proof left, and see that the rooms can be worked in.

        Only at the start, right after the marker was read, while no other thread may be proving.

        Raises:
            SpoolError: A room is missing, not writable, or on another mount. No file of ours stays.
        """
        try:
            for room in self._rooms:
                for left in room.glob(f"{self._probe_prefix}*"):
                    left.unlink(missing_ok=True)
        except OSError as fault:
            raise self._explain(fault) from None
        self._pass_through_rooms()

    def prove(self) -> None:
        """See that the spool is there, and that all its rooms can be worked in. Any thread may call it, at any time.

        Raises:
            SpoolError: As `check`; or a room is missing, not writable, full, or on another mount. No file of ours
                stays, unless the disk refuses even its removal; then the next start takes it away.
        """
        self.check()
        self._pass_through_rooms()

    def _pass_through_rooms(self) -> None:
        """Write a file and rename it through all our rooms and this instance's own folder, made if it is missing.

        Nothing less will do: equal device numbers prove nothing (bind mounts), nor do free blocks (quotas).
        """
        rooms = self._rooms
        name = f"{self._probe_prefix}{secrets.token_hex(8)}"
        where = rooms[0] / name
        try:
            make_dirs(self.processing, below=self.processing.parent)
            _write_durably(where, b"\0" * PROBE_BYTES)
            for room in [*rooms[1:], rooms[0]]:
                self.rename(where, room / name)
                where = room / name
        except OSError as fault:
            raise self._explain(fault) from None
        finally:
            with contextlib.suppress(OSError):
                where.unlink(missing_ok=True)

    @property
    def _rooms(self) -> list[Path]:
        ours = ROOMS[1:] if self.is_inbox_foreign else ROOMS
        return [*(self.root / room for room in ours), self.processing]

    @property
    def _probe_prefix(self) -> str:
        # Named after the instance, so that what a killed proof left is found, and nobody else's is touched.
        return f"{TEMPORARY_PREFIX}probe-{self.instance}"

    def _explain(self, fault: OSError) -> SpoolError:
        if fault.errno == errno.EXDEV:
            return SpoolError(
                f"The rooms of {self.root} lie on different mounts, so files can't be moved between them: mount the "
                "parent folder once (in Docker one volume, in systemd one ReadWritePaths=), not each room.",
                reason="spool_split",
            )
        if fault.errno == errno.ENOENT:
            return SpoolError(
                f"A room of the spool {self.root} is missing: run `cesar-watch init {self.root}` to make it again.",
                reason="spool_missing",
            )
        return folder_fault(fault)

    def resting_place(self, room: str, job: Job, *, companions: Sequence[Callable[[Path], Path]] = ()) -> Path:
        """Return a free name for the job's recording in `room`, mirroring its inbox folder.

        Durable for the folder, not for the name: the move itself finds out whether it is still free.

        Args:
            companions: The names of files that will lie beside the recording, and must be free as well.
        """
        folder = self.root / room
        for part in Path(os.fsdecode(job.subfolder)).parts:
            # A recording may rest there under the very name of the subfolder.
            folder = next(path for path in _numbered(folder / part) if path.is_dir() or not os.path.lexists(path))
        make_dirs(folder, below=self.root / room)
        for path in _numbered(folder / os.fsdecode(job.name)):
            names = [path, *(companion(path) for companion in companions)]
            if not any(os.path.lexists(name) for name in names):
                return path
        raise AssertionError("numbers do not end")

    def move(self, source: Path, target: Path) -> None:
        """Move durably between rooms; FileExistsError leaves both names untouched."""
        move(source, target, rename=self.rename)

    def take_in(self, source: Path, target: Path) -> None:
        """Move durably into a job folder of our own: of several instances that try, exactly one has the file then."""
        move(source, target, rename=rename_into_own if self.rename is rename_noreplace else self.rename)

    def carry(self, source: Path, target: Path, endings: Iterable[str]) -> None:
        """Move what lies beside a recording at `source` to beside `target`, durably; what is not there is fine.

        Repeating it after a crash finishes it. Where a name is taken it gets a numbered one.

        Raises:
            OSError, SpoolError: A room can't be written. A file that alone can't be moved stays, which is told.
        """
        for ending in endings:
            self._carry_patiently(beside(source, ending), beside(target, ending))

    def _carry_patiently(self, old: Path, new: Path) -> None:
        for refusals in range(2):
            try:
                self._carry(old, new)
                return
            except OSError as fault:
                if fault.errno not in _ONE_FILES_OWN:
                    raise
                if refusals:
                    log.warning("%s can't be moved (%s), and stays.", old, fault.strerror)
                    return
            self.prove()  # then it may have been held open for a moment only

    def _carry(self, old: Path, new: Path) -> None:
        if not _is_file(old):
            if os.path.lexists(new):
                finish_move(old, new)
            return
        for place in _numbered(new):
            try:
                self.move(old, place)
            except FileExistsError:
                continue
            except FileNotFoundError:
                if os.path.lexists(old):
                    raise
            return


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _numbered(path: Path) -> Iterator[Path]:
    """Yield the path, then `name-2.ext`, `name-3.ext` ..., each within the filesystem's limit."""
    yield path
    stem, suffix = os.fsencode(path.stem), os.fsencode(path.suffix)
    limit_bytes = name_limit(path.parent)
    for number in itertools.count(2):
        tail = b"-%d" % number + suffix
        yield path.with_name(os.fsdecode(cut(stem, limit_bytes - len(tail)) + tail))


def read_marker(root: Path) -> str:
    """Return the spool's id from its marker.

    Raises:
        SpoolError: There is no marker, or it can't be read: the share is not mounted, or nobody ran `init`.
    """
    try:
        return str(json.loads((root / MARKER).read_bytes())["spool_id"])
    except FileNotFoundError:
        raise SpoolError(
            f"{root} has no marker {MARKER}: mount the share, or run `cesar-watch init {root}`.",
            reason="spool_missing",
        ) from None
    except NotADirectoryError:
        raise SpoolError(f"{root} is not a folder: correct spool.root.", reason="spool_missing") from None
    except (ValueError, KeyError, TypeError):
        raise SpoolError(
            f"The marker {root / MARKER} is damaged: restore it from a backup, or take it away and run "
            f"`cesar-watch init {root}`.",
            reason="marker_damaged",
        ) from None
    except OSError as fault:
        raise folder_fault(fault) from None


def create_spool(root: Path) -> str:
    """Make the rooms and, last, the marker; an existing spool keeps its id. Returns the spool's id.

    Raises:
        SpoolError: The folder can't be made or written. What had been made stays; running again goes on.
    """
    try:
        for room in ROOMS:
            make_dirs(root / room)
        if not (root / MARKER).exists():
            content = json.dumps({"spool_id": secrets.token_hex(8), "made_by": "cesar-watch"}) + "\n"
            with contextlib.suppress(NameTaken):  # another process was first
                write_new(root / MARKER, [content.encode()], staging=root)
        sync_dir(root)
    except OSError as fault:
        raise folder_fault(fault) from None
    return read_marker(root)
