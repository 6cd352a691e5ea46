"""Any order of writers, events, looks, claims, work, kills and restarts: each finished recording is transcribed once.

Hypothesis thinks up the orders; intake, ledger, spool and worker are the real ones, on a real disk, with time that is
moved by hand.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cesar_watch.core.config import SpoolSettings
from cesar_watch.core.durable import rename_noreplace
from cesar_watch.core.job import State
from cesar_watch.intake.watch import Hints, Watcher
from cesar_watch.service.intake import Intake
from cesar_watch.speech.protocol import Event, Transcribe
from cesar_watch.verify.examine import Examination
from tests.fakes import FakeEngine
from tests.service_builders import HandClock, Rig, open_rig

NAMES = ("talk.wav", "talk.mp3", "TALK.wav", "-rf.mp3", "a\nb.wav", os.fsdecode(b"caf\xe9.wav"), "ž.mp3", "z\u030c.mp3")
WAV_HEADER_BYTES = 44
FOREIGN = (".hidden.wav", "talk.part", "notes.txt", ".cesar-not-ours.wav", "folder/talk.wav")
RECORDINGS = ("processing", "archive", "failed", "duplicates")


class Killed(BaseException):
    """The process dies here."""


class MortalEngine(FakeEngine):
    """Dies, when told to, between the windows of a recording."""

    doomed = False

    def transcribe(self, request: Transcribe, **how: Any) -> Generator[Event, None, None]:
        for number, event in enumerate(super().transcribe(request, **how)):
            if self.doomed and number == 4:
                raise Killed
            yield event


class HandWatcher(Watcher):
    """Knows just the events that the test tells it, true ones and others."""

    def __init__(self) -> None:
        super().__init__(threading.Event())
        self.told = Hints()

    def begin(self, spool: SpoolSettings, now_s: float) -> Hints:
        hints, self.told = self.told, Hints()
        return hints

    def enter(self, folder: Path, is_remote: bool) -> None:
        """Watch nothing."""


@dataclass
class Writer:
    """Somebody who fills a recording in, bit by bit."""

    content: bytes
    stream: IO[bytes] | None
    written: int = 0

    def write(self, count: int) -> None:
        """Write on, but not the last byte, so that the test knows when it is whole: see `Dropper.finish`."""
        assert self.stream is not None
        part = self.content[self.written : min(self.written + count, len(self.content) - 1)]
        self.stream.write(part)
        self.written += len(part)

    def pause(self) -> None:
        """Close it for a while, if its header tells that this is not all; of any other nobody could know that."""
        if self.content.startswith(b"RIFF") and self.written >= WAV_HEADER_BYTES:
            self.close()

    def close(self) -> None:
        if self.stream is not None:
            self.stream.close()
        self.stream = None


@dataclass
class Dropper:
    """All that people and programs do to an inbox, and what they expect to come of it.

    Attributes:
        writers: Those who have not finished, by the inode of what they write: a name may be changed under them.
        expected: How many files of each finished content must be somewhere in the spool.
    """

    inbox: Path
    elsewhere: Path
    writers: dict[int, Writer] = field(default_factory=dict)
    expected: Counter[bytes] = field(default_factory=Counter)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def sound(self, name: str) -> bytes:
        """A recording like no other; a WAV says how long it is, an MP3 of this kind does not."""
        body = b"sound %06d " % next(self.numbers) * 200
        if not name.endswith(".wav"):
            return body
        header = b"WAVEfmt " + bytes.fromhex("10000000 0100 0100 401f0000 401f0000 0100 0800") + b"data"
        rest = header + len(body).to_bytes(4, "little") + body
        return b"RIFF" + len(rest).to_bytes(4, "little") + rest

    def start(self, name: str, count: int, *, closes: bool) -> None:
        """Make a recording under a name that is free, and write its first bytes."""
        path = self.inbox / name
        with contextlib.suppress(FileExistsError):
            writer = Writer(self.sound(name), path.open("xb", buffering=0))
            self.writers[path.stat().st_ino] = writer
            writer.write(count)
            if closes:
                writer.pause()

    def rename_in(self, name: str, content: bytes) -> None:
        """Put a finished recording in place at once; one that is there under this name is replaced."""
        path, made = self.inbox / name, self.elsewhere / "made"
        made.write_bytes(content)
        self.forget(path)
        made.rename(path)
        self.expected[content] += 1

    def forget(self, path: Path) -> None:
        """Reckon with it that what has this name goes."""
        if not os.path.lexists(path):
            return
        inode = path.stat().st_ino
        writer = self.writers.pop(inode, None)
        if writer is None:
            self.expected[path.read_bytes()] -= 1
        else:
            writer.close()

    def withdraw(self, path: Path) -> None:
        self.forget(path)
        path.unlink()

    def finish(self, inode: int) -> None:
        writer = self.writers.pop(inode)
        with writer.stream or self.path_of(inode).open("ab", buffering=0) as stream:
            stream.write(writer.content[writer.written :])
        self.expected[writer.content] += 1

    def path_of(self, inode: int) -> Path:
        return next(path for path in self.inbox.iterdir() if path.lstat().st_ino == inode)


def contents(folder: Path) -> Counter[bytes]:
    """The content of each recording below a folder; not what is ours beside it."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".cesar-"))
    return Counter(path.read_bytes() for path in files if not path.name.endswith(".reason.txt"))


names = st.sampled_from(NAMES)
pick = st.integers(0, 9)
counts = st.integers(0, 2000)


class Drops(RuleBasedStateMachine):
    """One inbox, its droppers, and one life of the service after another."""

    def __init__(self) -> None:
        super().__init__()
        fast = Path("/dev/shm")
        self._base = Path(tempfile.mkdtemp(prefix="cesar-drops-", dir=fast if os.access(fast, os.W_OK) else None))
        self._root = self._base / "spool"
        self._engine = MortalEngine()
        self._hand = HandClock()
        self._life = contextlib.ExitStack()
        self._rig = self._open()
        (self._base / "elsewhere").mkdir()
        self._dropper = Dropper(self._rig.house.spool.inbox, self._base / "elsewhere")
        self._foreign = {self._rig.house.spool.inbox / name: b"foreign " + name.encode() for name in FOREIGN}
        self._foreign[self._rig.house.spool.outbox / "talk.txt"] = b"somebody's own"
        for path, content in self._foreign.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        (self._rig.house.spool.inbox / "link.wav").symlink_to(self._base / "elsewhere")

    def _open(self) -> Rig:
        # No grace ends and no attempt is the last: whoever is slow here finishes in the end.
        settings: dict[str, Any] = {"spool": {"short_grace_s": 1e9}, "retry": {"max_attempts": 1000, "backoff_s": 1}}
        rig = self._life.enter_context(open_rig(self._root, self._engine, hand=self._hand, **settings))
        self._watcher = HandWatcher()
        rig.intake = Intake(rig.house, wake=threading.Event(), watcher=self._watcher)
        return rig

    def _kill(self) -> None:
        """End this life without a goodbye: what SQLite would have tidied up is there as it was."""
        state = self._root / ".state"
        left = {path: path.read_bytes() for path in state.glob("ledger.db*")}
        self._life.close()
        for path in state.glob("ledger.db*"):
            path.unlink()
        for path, content in left.items():
            path.write_bytes(content)
        self._engine.doomed = False
        self._rig = self._open()

    # --- droppers -------------------------------------------------------------------------------------

    def _dropped(self) -> list[Path]:
        inbox = self._rig.house.spool.inbox
        return sorted(path for path in inbox.iterdir() if path.name in NAMES)

    def _writer(self, pick: int) -> tuple[int, Writer]:
        return list(self._dropper.writers.items())[pick % len(self._dropper.writers)]

    @rule(name=names, count=counts, closes=st.booleans())
    def somebody_starts_to_write(self, name: str, count: int, closes: bool) -> None:
        self._dropper.start(name, count, closes=closes)

    @precondition(lambda self: self._dropper.writers)
    @rule(pick=pick, count=counts, closes=st.booleans())
    def a_writer_goes_on(self, pick: int, count: int, closes: bool) -> None:
        inode, writer = self._writer(pick)
        if writer.stream is None:
            writer.stream = self._dropper.path_of(inode).open("ab", buffering=0)
        writer.write(count)
        if closes:
            writer.pause()

    @precondition(lambda self: self._dropper.writers)
    @rule(pick=pick)
    def a_writer_finishes(self, pick: int) -> None:
        self._dropper.finish(self._writer(pick)[0])

    @rule(name=names)
    def somebody_renames_a_whole_one_into_place(self, name: str) -> None:
        self._dropper.rename_in(name, self._dropper.sound(name))

    @precondition(lambda self: self._dropper.expected)
    @rule(name=names, pick=pick)
    def somebody_drops_a_copy_of_an_earlier_one(self, name: str, pick: int) -> None:
        known = sorted(self._dropper.expected)
        self._dropper.rename_in(name, known[pick % len(known)])

    @precondition(lambda self: self._dropped())
    @rule(pick=pick, name=st.none() | names)
    def somebody_withdraws_or_renames(self, pick: int, name: str | None) -> None:
        dropped = self._dropped()
        path = dropped[pick % len(dropped)]
        if name is None:
            self._dropper.withdraw(path)
        elif not (path.parent / name).exists():
            path.rename(path.parent / name)

    @precondition(lambda self: self._dropped())
    @rule(pick=pick, moved_in=st.booleans())
    def an_event_is_told_whether_true_or_not(self, pick: int, moved_in: bool) -> None:
        told, dropped = self._watcher.told, self._dropped()
        (told.moved_in if moved_in else told.closed).add(dropped[pick % len(dropped)])

    # --- the service ----------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.25, 1.0, 4.9, 6.0, 4000.0]), looks=st.integers(1, 3))
    def the_intake_looks(self, seconds: float, looks: int) -> None:
        for _ in range(looks):
            self._hand.move(seconds)
            self._rig.intake.turn(self._hand.elapsed_s)

    @rule()
    def the_worker_takes_a_turn(self) -> None:
        self._rig.worker.turn(self._hand.elapsed_s)

    @rule(
        actor=st.sampled_from(["intake", "worker", "engine", "nobody"]), renames=st.integers(0, 6), behind=st.booleans()
    )
    def the_service_dies(self, actor: str, renames: int, behind: bool) -> None:
        """Between two turns; or inside one, before or behind a rename or between two windows."""
        turns = {"intake": self._rig.intake.turn, "worker": self._rig.worker.turn, "engine": self._rig.worker.turn}
        if actor == "engine":
            self._engine.doomed = True
        elif actor != "nobody":
            self._die_at_a_rename(renames, behind=behind)
        with contextlib.suppress(Killed):
            for _ in range(2 if actor in turns else 0):
                self._hand.move(64.0)
                turns[actor](self._hand.elapsed_s)
        self._kill()

    def _die_at_a_rename(self, left: int, *, behind: bool) -> None:
        """Let the process die at the rename after so many more, before or behind it."""

        def rename(source: Path, target: Path) -> None:
            nonlocal left
            left -= 1
            if left >= 0 or behind:
                rename_noreplace(source, target)
            if left < 0:
                raise Killed

        self._rig.house.spool = dataclasses.replace(self._rig.house.spool, rename=rename)

    # --- promises -------------------------------------------------------------------------------------

    @invariant()
    def every_finished_recording_is_in_exactly_one_room(self) -> None:
        found = sum((contents(self._root / room) for room in RECORDINGS), Counter[bytes]())
        unfinished = self._dropper.writers
        waiting = [path for path in self._dropped() if path.stat().st_ino not in unfinished]
        found.update(path.read_bytes() for path in waiting)
        assert found == +self._dropper.expected

    @invariant()
    def nothing_foreign_is_touched(self) -> None:
        assert {path: path.read_bytes() for path in self._foreign} == self._foreign
        assert (self._rig.house.spool.inbox / "link.wav").is_symlink()

    def teardown(self) -> None:
        try:
            for writer in list(self._dropper.writers):
                self._dropper.finish(writer)
            self._let_everything_end()
            self.every_finished_recording_is_in_exactly_one_room()
            self.nothing_foreign_is_touched()
            self._see_each_transcribed_once()
        finally:
            self._life.close()
            shutil.rmtree(self._base)

    def _let_everything_end(self) -> None:
        unfinished = [State.CLAIMING, State.PENDING, State.PROCESSING, State.TRANSCRIBED]
        for _ in range(30):
            self._hand.move(4000.0)
            self._rig.intake.turn(self._hand.elapsed_s)
            self._rig.work()
            if not self._dropped() and not self._rig.house.ledger.jobs(unfinished):
                return
        raise AssertionError(f"Something never ends: {self._rig.files()}")

    def _see_each_transcribed_once(self) -> None:
        jobs = self._rig.house.ledger.jobs()
        assert {job.state for job in jobs} <= {State.COMPLETED, State.DUPLICATE}
        expected = +self._dropper.expected
        assert contents(self._root / "archive") == Counter(expected.keys())
        assert contents(self._root / "duplicates") == expected - Counter(expected.keys())
        assert len({job.base for job in jobs}) == len(jobs) == expected.total()
        report = Examination(self._root, self._root / ".state", lambda: False, wait=lambda seconds: None).run()
        assert report.findings == []


TestDrops = pytest.mark.timeout(600)(Drops.TestCase)
