"""What the fault harness lives through: each scenario is one way a recording, or a queue of them, may go.

A scenario is prepared undisturbed, then acted under faults; afterwards it is finished undisturbed, which includes
that a person repeats what they had asked for and did not get. What must have become of every recording stands in
`ends`. Every feature that moves or writes a file adds its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cesar_watch.core import durable
from cesar_watch.core.errors import AlreadyRunning, AttemptError, ModelError, RecordingError
from cesar_watch.core.job import Event, Request, State
from cesar_watch.core.sign_of_life import look
from cesar_watch.core.spool import Spool
from cesar_watch.service.house import open_house
from cesar_watch.service.instances import other_instances
from cesar_watch.service.mending import mend
from cesar_watch.service.takeover import carry_out_adoptions
from tests.faults.life import (
    CUT_SHORT,
    Interruption,
    Life,
    Place,
    SpeakingEngine,
    alive,
    make_place,
    place_in,
    spoken,
    try_alive,
    world,
)

COMPLETED = ("completed",)
FAILED = ("failed",)
EITHER = ("completed", "duplicate")
NOT_MEDIA = RecordingError("It is a text file.", reason="not_media")
CRASHED = AttemptError("The engine process died.", reason="engine_crashed")
BUSY = AttemptError("A passing trouble.", reason="attempt_failed")


def nothing(_: Life) -> None:
    """Do nothing more."""


@dataclass(frozen=True)
class End:
    """What must have become of one recording: a state of its job, or `waiting` in the inbox, or `gone`.

    Attributes:
        same_as: The name of another recording with the same content.
        late: It is dropped after `before`.
    """

    name: str
    states: tuple[str, ...] = COMPLETED
    same_as: str = ""
    late: bool = False

    @property
    def content(self) -> bytes:
        """The recording's bytes."""
        return content_of(self.same_as or self.name)


@dataclass(frozen=True)
class Scenario:
    """One scenario.

    Attributes:
        name: For people and for `--scenarios`.
        ends: Every recording that is dropped, by its path in the inbox, and its allowed ends.
        interruptions: What the engine meets, see `SpeakingEngine`; for `act` and for what follows.
        before: Lived undisturbed on the prepared spool, in a life of its own.
        interruptions_before: What the engine meets in that life.
        between: Done to the spool at rest, after `before`.
        act: Lived under faults, after the start; then everything runs out.
        insist: What a person asks for, and asks again until it is done. Part of the act and of the finish.
        settings: Settings files and ready markers that are dropped with recordings, by path in the inbox, and their
            text. One beside a recording must go where that goes, one of a folder must stay.
        keep: Files of strangers, by path under the root, which must stay as they are.
        late: Such files, which appear after `before`.
        later: Such files, which may appear in the act; `Place.occupied` tells whether they did.
        own_attempts: How many attempts fail, or are handed back uncounted, without any fault of ours.
        mend: What a person puts right before the finish.
        sections: Settings that differ.
        rebuilt: Whether the ledger is lost, with its history and its notices.
        two_names: Whether a file may for a moment have two names, because the mount can only link and unlink.
        sidecar_away: Whether a sidecar is missing until it is mended.
        copied: Whether the inbox is somebody else's, who takes away the `withdrawn` names after `before`.
        start_counts: Whether faults come during the start too; where it has nothing special to do, that of `one` stands
            for it.
        fresh: The first start of all is part of the act.
    """

    name: str
    ends: tuple[End, ...]
    interruptions: dict[str, list[Interruption | None]] = field(default_factory=dict)
    before: Callable[[Life], None] | None = None
    interruptions_before: dict[str, list[Interruption | None]] = field(default_factory=dict)
    between: Callable[[Place], None] | None = None
    act: Callable[[Life], None] = nothing
    insist: Callable[[Life], None] = nothing
    settings: dict[str, str] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    mend: Callable[[Place], None] | None = None
    own_attempts: int = 0
    sections: dict[str, Any] = field(default_factory=dict)
    rebuilt: bool = False
    two_names: bool = False
    sidecar_away: bool = False
    copied: bool = False
    withdrawn: tuple[str, ...] = ()
    start_counts: bool = False
    fresh: bool = False

    def prepare(self, place: Place) -> None:
        """Bring an empty spool to where the act begins."""
        _drop(place, [end for end in self.ends if not end.late])
        for name, text in self.settings.items():
            path = place.root / "inbox" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        _put(place, self.keep)
        if not self.fresh:
            with alive(place, SpeakingEngine(self.interruptions_before), **self.sections) as life:
                (self.before or nothing)(life)
        _drop(place, [end for end in self.ends if end.late])
        _put(place, self.late)
        if self.between is not None:
            self.between(place)

    def live(self, place: Place) -> None:
        """Start, act, and let everything run out."""
        engine = SpeakingEngine(self.interruptions)
        with alive(place, engine, start_counts=self.start_counts, **self.sections) as life:
            self._act(life)

    def live_on(self, place: Place, tries: int = 4) -> None:
        """Live as under a service manager: an end with an error is followed by another start."""
        engine = SpeakingEngine(self.interruptions)
        for _ in range(tries):
            if try_alive(place, engine, self._act, start_counts=self.start_counts, **self.sections):
                return

    def _act(self, life: Life) -> None:
        self.act(life)
        self.insist(life)
        life.run_out()

    def finish(self, place: Place) -> None:
        """Start again, undisturbed, and let everything run out."""
        if self.mend is not None:
            self.mend(place)
        with alive(place, SpeakingEngine(self.interruptions), **self.sections) as life:
            life.run_out()
            self.insist(life)
            life.run_out()

    def expected(self) -> dict[str, Any]:
        """Return what the checker needs to know, as plain JSON values."""
        return {
            "recordings": [
                {
                    "name": end.name,
                    "sha256": hashlib.sha256(end.content).hexdigest(),
                    "ends": list(end.states),
                    "text": spoken(end.content),
                }
                for end in self.ends
            ],
            "settings": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in self.settings.items()},
            "keep": {name: hashlib.sha256(content_of(name)).hexdigest() for name in self.keep + self.late},
            "later": {name: hashlib.sha256(content_of(name)).hexdigest() for name in self.later},
            "own_attempts": self.own_attempts,
            "rebuilt": self.rebuilt,
            "sidecar_away": self.sidecar_away,
            "two_names": self.two_names,
            "copied": self.copied,
            "withdrawn": list(self.withdrawn),
        }


def content_of(name: str) -> bytes:
    """Return the bytes of a recording: words that tell it from every other, spelled out."""
    if name.startswith("empty"):
        return b""
    head = CUT_SHORT if name.startswith("short") else b""
    return head + b"the sound of " + hashlib.sha256(os.fsencode(name)).hexdigest()[:12].encode() + b" ends here"


def _drop(place: Place, ends: Iterable[End]) -> None:
    for end in ends:
        path = place.root / "inbox" / end.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(end.content)


def _put(place: Place, names: Iterable[str]) -> None:
    for name in names:
        (place.root / name).write_bytes(content_of(name))


def _ends(*names: str, states: tuple[str, ...] = COMPLETED) -> tuple[End, ...]:
    return tuple(End(name, states) for name in names)


# --- what people and the world do ------------------------------------------------------------------


def _retry(life: Life) -> None:
    life.ask("bad.mp3", Request.RETRY, State.FAILED, State.CANCELLED)


def _retry_the_duplicate(life: Life) -> None:
    life.ask("copy.mp3", Request.RETRY, State.DUPLICATE)


def _cancel(life: Life) -> None:
    life.ask("talk.mp3", Request.CANCEL, State.PENDING, State.PROCESSING, State.TRANSCRIBED)


def _delete(request: Request) -> Callable[[Life], None]:
    return lambda life: life.ask("talk.mp3", request, State.COMPLETED)


def _claim_only(life: Life) -> None:
    for _ in range(2):
        life.threads[0].turn()
        life.hand.move(61)


def _run_out(life: Life) -> None:
    life.run_out()


def _die_behind_the_first_window(life: Life) -> None:
    """Leave what a death in mid-work leaves: a dead lease and a checkpoint with one window."""
    _claim_only(life)

    def die() -> None:
        raise _Died

    life.engine.meet({"talk.mp3": [die]})
    try:
        life.worker.turn(life.hand.elapsed_s)
    except _Died:
        return
    raise AssertionError("the attempt did not begin")


class _Died(BaseException):
    """Stands for the end of the process."""


def _stop_in_mid_work(life: Life) -> None:
    def stop() -> None:
        life.stop.since_s = life.hand.elapsed_s - 3600

    life.engine.meet({"talk.mp3": [stop]})


def _cancel_in_mid_work(life: Life) -> None:
    life.engine.meet({"talk.mp3": [lambda: _cancel(life)]})


def _writer_goes_on(life: Life) -> None:
    def write() -> None:
        with world():
            (path,) = life.place.root.glob("processing/*/*/talk.mp3")
            os.utime(path, ns=(1, 1))

    life.engine.meet({"talk.mp3": [write, None]})


def _marker_away(life: Life) -> None:
    with world():
        (life.place.root / ".cesar-watch").rename(life.place.root.with_name("marker"))
    for thread in life.threads:
        thread.turn()
    with world():
        _marker_back(life.place)


def _marker_back(place: Place) -> None:
    away = place.root.with_name("marker")
    if away.exists():
        away.rename(place.root / ".cesar-watch")


def _withdraw_at_the_rename(life: Life) -> None:
    _at_the_rename(life, "inbox", lambda _: (life.place.root / "inbox" / "talk.mp3").unlink(missing_ok=True))


def _replace_at_the_rename(life: Life) -> None:
    def replace(_: Any) -> None:
        path = life.place.root / "inbox" / "talk.mp3"
        newer = path.with_name(".newer")
        try:
            newer.write_bytes(content_of("talk.mp3"))
            durable.sync_file(newer)
        except OSError:
            # A sender that finds no room takes its half copy away; the service touches nobody's temporary file.
            with contextlib.suppress(OSError):
                newer.unlink()
            raise
        newer.replace(path)
        durable.sync_dir(path.parent)

    _at_the_rename(life, "inbox", replace)


def _occupy_at_the_rename(room: str) -> Callable[[Life], None]:
    def occupy(life: Life) -> None:
        def do(target: Path) -> None:
            target.write_bytes(content_of(f"{room}/talk.mp3"))
            durable.sync_file(target)
            durable.sync_dir(target.parent)
            life.place.occupied.touch()

        _at_the_rename(life, room, do)

    return occupy


def _at_the_rename(life: Life, room: str, do: Callable[[Path], object]) -> None:
    """Let somebody do something in the very moment before the recording is renamed out of, or into, this room."""
    done: list[bool] = []

    def rename(source: Path, target: Path) -> None:
        if not done and source.name == "talk.mp3" and room in (*source.parts, *target.parts):
            done.append(True)
            with world():
                do(target)
        durable.rename_noreplace(source, target)

    life.house.spool = _with_rename(life.house.spool, rename)


def _lease_lost(life: Life) -> None:
    def take_over() -> None:
        ledger, (job,) = life.house.ledger, life.jobs("talk.mp3")
        ledger.apply(job, Event.RELEASED, life.house.clock.now(), lease=None, attempts=0)

    life.engine.meet({"talk.mp3/end": [take_over, None]})


def _link_only(life: Life) -> None:
    life.house.spool = _with_rename(life.house.spool, durable.link_noreplace)


def _with_rename(spool: Spool, rename: durable.Rename) -> Spool:
    return dataclasses.replace(spool, rename=rename)


def _second_start(life: Life) -> None:
    try:
        with open_house(life.place.settings()):
            raise AssertionError("two instances on one state directory")
    except AlreadyRunning:
        pass


def _three_kinds(life: Life) -> None:
    """One completed, one failed, one that died behind its first window."""
    life.engine.meet({"bad.mp3": [NOT_MEDIA]})
    held = life.place.root / "inbox" / "talk.mp3"
    aside = life.place.root / "inbox" / ".talk"
    held.rename(aside)
    life.run_out()
    aside.rename(held)
    life.engine.meet({})
    _die_behind_the_first_window(life)


def _changes_while_it_is_copied(life: Life) -> None:
    def write() -> None:
        with world():
            os.utime(life.place.root / "inbox" / "talk.mp3", ns=(1, 1))

    life.while_copying.append(write)


def _touched(place: Place) -> None:
    for path in (place.root / "inbox").rglob("*.mp3"):
        os.utime(path, ns=(1, 1))


def _withdrawn(place: Place) -> None:
    (place.root / "inbox" / "talk.mp3").unlink()


def _another_instance_left_it(place: Place) -> None:
    """Make what was lived so far another instance's: its state directory is on another machine."""
    place.state_dir.rename(place.root.with_name("state-elsewhere"))
    place.state_dir.mkdir()


def _adopt(life: Life) -> None:
    house = life.house
    for other in other_instances(house.spool):
        house.ledger.adoptions.ask(other, look(house.spool.processing.parent / other).token)
    carry_out_adoptions(house)


def _another_instance_is_faster(life: Life) -> None:
    """Let another instance claim, at the second rename out of the inbox, all that this one has seen there."""
    renames: list[Path] = []
    with world():
        other = contextlib.ExitStack()
        second = other.enter_context(_other_life(life.place))
        second.threads[0].turn()
        second.hand.move(61)

    def rename(source: Path, target: Path) -> None:
        renames.append(source)
        if len(renames) == 2:
            with world():
                second.threads[0].turn()
        durable.rename_noreplace(source, target)

    life.house.spool = _with_rename(life.house.spool, rename)
    try:
        _claim_only(life)
    finally:
        with world():
            other.close()


def _another_instance_runs_out(life: Life) -> None:
    with world(), _other_life(life.place) as second:
        second.run_out()


def _other_life(place: Place) -> contextlib.AbstractContextManager[Life]:
    elsewhere = dataclasses.replace(place, state_dir=place.root.with_name("state-elsewhere"))
    return alive(elsewhere, SpeakingEngine())


def _sidecar_gone(place: Place) -> None:
    (place.root / "outbox" / "talk.status.json").unlink()


def _mend(life: Life) -> None:
    mend(life.house)


def _ledger_gone(place: Place) -> None:
    for path in place.state_dir.glob("ledger.db*"):
        path.unlink()


def _ledger_garbage(place: Place) -> None:
    for path in place.state_dir.glob("ledger.db-*"):
        path.unlink()
    size = (place.state_dir / "ledger.db").stat().st_size
    (place.state_dir / "ledger.db").write_bytes(b"garbage!" * (size // 8))


_RIGHT = "beam_size = 3\n"
_MARKED: dict[str, Any] = {"spool": {"ready_marker": ".ok"}}
_WRONG = "beam_size = 99\n"
_LONG = "n" * 251 + ".mp3"
_COPIED: dict[str, Any] = {"sections": {"spool": {"claim": "copy"}}, "copied": True}
_THREE = (End("done.mp3"), End("bad.mp3", FAILED), End("talk.mp3"))
_COPY = End("later/copy.mp3", ("duplicate",), same_as="talk.mp3", late=True)

SCENARIOS: tuple[Scenario, ...] = (
    Scenario("one", _ends("talk.mp3"), start_counts=True),
    Scenario("first-start", _ends("talk.mp3"), start_counts=True, fresh=True),
    Scenario("several", _ends("a.mp3", "b.wav", "sub/c.mp3")),
    Scenario("queue-of-many", _ends(*(f"{number}.mp3" for number in range(5)))),
    Scenario("same-name-twice", _ends("talk.mp3", "Talk.wav")),
    Scenario("name-at-the-limit", _ends(_LONG)),
    Scenario("name-not-utf8", _ends(os.fsdecode(b"caf\xe9\n.mp3"))),
    Scenario("link-only-mount", _ends("talk.mp3"), act=_link_only, two_names=True),
    Scenario("failing", _ends("bad.mp3", states=FAILED), {"bad.mp3": [NOT_MEDIA]}),
    Scenario(
        "failing-on-a-link-only-mount",
        _ends("bad.mp3", states=FAILED),
        {"bad.mp3": [NOT_MEDIA]},
        act=_link_only,
        two_names=True,
    ),
    Scenario(
        "passing-trouble",
        _ends("bad.mp3"),
        {"bad.mp3": [BUSY, None]},
        sections={"retry": {"max_attempts": 9}},
        own_attempts=2,
    ),
    Scenario("attempts-used-up", _ends("bad.mp3", states=FAILED), {"bad.mp3": [BUSY]}),
    Scenario("poison", (End("bad.mp3", FAILED), End("talk.mp3")), {"bad.mp3": [CRASHED]}),
    Scenario("retry", _ends("bad.mp3"), before=_run_out, interruptions_before={"bad.mp3": [NOT_MEDIA]}, insist=_retry),
    Scenario("cancel-in-mid-work", _ends("talk.mp3", states=("cancelled", "completed")), act=_cancel_in_mid_work),
    Scenario(
        "cancel-while-pending", _ends("talk.mp3", states=("cancelled", "completed")), before=_claim_only, insist=_cancel
    ),
    Scenario("delete", _ends("talk.mp3", states=("forgotten",)), before=_run_out, insist=_delete(Request.DELETE)),
    Scenario(
        "delete-with-recording",
        _ends("talk.mp3", states=("gone",)),
        before=_run_out,
        insist=_delete(Request.DELETE_RECORDING),
    ),
    Scenario(
        "publish-on-a-taken-name",
        _ends("talk.mp3"),
        before=_claim_only,
        late=("outbox/talk.txt",),
    ),
    Scenario("outbox-name-taken", _ends("talk.mp3"), keep=("outbox/talk.json",)),
    Scenario("archive-on-a-taken-name", _ends("talk.mp3"), keep=("archive/talk.mp3",)),
    Scenario(
        "archive-name-taken-at-the-last-moment",
        _ends("talk.mp3"),
        act=_occupy_at_the_rename("archive"),
        later=("archive/talk.mp3",),
    ),
    Scenario(
        "failed-on-a-taken-name",
        _ends("bad.mp3", states=FAILED),
        {"bad.mp3": [NOT_MEDIA]},
        keep=("failed/bad.mp3", "failed/bad-2.mp3.reason.txt"),
    ),
    Scenario(
        "settings-file", _ends("sub/talk.mp3"), settings={"sub/talk.mp3.toml": _RIGHT, ".cesar.toml": _RIGHT + "#"}
    ),
    Scenario(
        "settings-file-on-a-link-only-mount",
        _ends("talk.mp3"),
        settings={"talk.mp3.toml": _RIGHT},
        act=_link_only,
        two_names=True,
    ),
    Scenario(
        "settings-file-wrong",
        (End("bad.mp3", FAILED), End("talk.mp3")),
        settings={"bad.mp3.toml": _WRONG},
    ),
    Scenario(
        "settings-file-mended",
        _ends("bad.mp3"),
        settings={"bad.mp3.toml": _RIGHT},
        before=_run_out,
        interruptions_before={"bad.mp3": [NOT_MEDIA]},
        insist=_retry,
    ),
    Scenario(
        "settings-file-still-wrong",
        _ends("bad.mp3", states=FAILED),
        settings={"bad.mp3.toml": _WRONG},
        before=_run_out,
        act=_retry,
    ),
    Scenario(
        "settings-file-deleted-with-its-recording",
        _ends("talk.mp3", states=("gone",)),
        settings={"talk.mp3.toml": _RIGHT},
        before=_run_out,
        insist=_delete(Request.DELETE_RECORDING),
    ),
    Scenario(
        "settings-file-and-archive-name-taken-at-the-last-moment",
        _ends("talk.mp3"),
        settings={"talk.mp3.toml": _RIGHT},
        act=_occupy_at_the_rename("archive"),
        later=("archive/talk.mp3",),
    ),
    Scenario(
        "marker",
        (End("sub/talk.mp3"), End("early.mp3", ("waiting",))),
        settings={"sub/talk.mp3.ok": "whole", "sub/talk.mp3.toml": _RIGHT},
        sections=_MARKED,
    ),
    Scenario(
        "marker-on-a-link-only-mount",
        _ends("talk.mp3"),
        settings={"talk.mp3.ok": "whole"},
        sections=_MARKED,
        act=_link_only,
        two_names=True,
    ),
    Scenario(
        "marker-of-one-that-failed-and-is-retried",
        _ends("bad.mp3"),
        settings={"bad.mp3.ok": "whole"},
        sections=_MARKED,
        before=_run_out,
        interruptions_before={"bad.mp3": [NOT_MEDIA]},
        insist=_retry,
    ),
    Scenario(
        "marker-deleted-with-its-recording",
        _ends("talk.mp3", states=("gone",)),
        settings={"talk.mp3.ok": "whole"},
        sections=_MARKED,
        before=_run_out,
        insist=_delete(Request.DELETE_RECORDING),
    ),
    Scenario(
        "marker-and-archive-name-taken-at-the-last-moment",
        _ends("talk.mp3"),
        settings={"talk.mp3.ok": "whole"},
        sections=_MARKED,
        act=_occupy_at_the_rename("archive"),
        later=("archive/talk.mp3",),
    ),
    Scenario("zero-length", (End("talk.mp3"), End("empty.mp3", ("waiting",)))),
    Scenario(
        "cut-short",
        (End("short.wav", FAILED), End("talk.mp3")),
        sections={"spool": {"short_grace_s": 1}},
    ),
    Scenario(
        "cut-short-and-wanted",
        _ends("short.wav"),
        sections={"spool": {"short_grace_s": 1, "short": "transcribe"}},
    ),
    Scenario(
        "model-missing-for-a-while",
        _ends("talk.mp3"),
        {"talk.mp3": [ModelError("The model is away."), None]},
    ),
    Scenario("marker-away-for-a-while", _ends("talk.mp3"), act=_marker_away, mend=_marker_back),
    Scenario("withdrawn-at-the-claim", _ends("talk.mp3", states=("gone", "completed")), act=_withdraw_at_the_rename),
    Scenario("replaced-at-the-claim", _ends("talk.mp3"), act=_replace_at_the_rename),
    Scenario(
        "writer-goes-on",
        _ends("talk.mp3"),
        act=_writer_goes_on,
        sections={"retry": {"max_attempts": 9}},
        own_attempts=1,
    ),
    Scenario("ledger-gone", _THREE, before=_three_kinds, between=_ledger_gone, rebuilt=True, start_counts=True),
    Scenario("ledger-garbage", _THREE, before=_three_kinds, between=_ledger_garbage, rebuilt=True, start_counts=True),
    Scenario(
        "verify-repair",
        _ends("talk.mp3"),
        before=_run_out,
        between=_sidecar_gone,
        insist=_mend,
        sidecar_away=True,
        start_counts=True,
    ),
    Scenario("lease-lost-at-the-last-moment", _ends("talk.mp3"), act=_lease_lost, own_attempts=1),
    Scenario("resume-behind-a-checkpoint", _ends("talk.mp3"), before=_die_behind_the_first_window, start_counts=True),
    Scenario("graceful-stop-in-mid-work", _ends("talk.mp3"), act=_stop_in_mid_work),
    Scenario("two-starts-at-once", _ends("talk.mp3"), act=_second_start),
    Scenario(
        "adopt",
        _ends("talk.mp3", "zoo/more.mp3"),
        before=_die_behind_the_first_window,
        between=_another_instance_left_it,
        insist=_adopt,
        rebuilt=True,
    ),
    Scenario(
        "two-instances",
        _ends("talk.mp3", "Talk.wav", "talk.flac"),
        act=_another_instance_is_faster,
        insist=_another_instance_runs_out,
    ),
    Scenario("duplicate", (End("talk.mp3"), _COPY), before=_run_out),
    Scenario("duplicate-on-a-taken-name", (End("talk.mp3"), _COPY), before=_run_out, late=("duplicates/later",)),
    Scenario(
        "duplicate-with-a-settings-file",
        (End("talk.mp3"), _COPY),
        settings={"talk.mp3.toml": _RIGHT, "later/copy.mp3.toml": _RIGHT + "#"},
        before=_run_out,
    ),
    Scenario("duplicates-at-once", (End("talk.mp3", EITHER), End("copy.mp3", EITHER, same_as="talk.mp3"))),
    Scenario(
        "duplicate-waits-for-a-passing-trouble",
        (End("talk.mp3", EITHER), End("copy.mp3", EITHER, same_as="talk.mp3")),
        {"talk.mp3": [BUSY, None], "copy.mp3": [BUSY, None]},
        sections={"retry": {"max_attempts": 9, "backoff_s": 150}},
        own_attempts=2,
    ),
    Scenario(
        "retry-of-a-duplicate",
        (End("a.mp3"), End("copy.mp3", same_as="a.mp3")),
        before=_run_out,
        insist=_retry_the_duplicate,
    ),
    Scenario(
        "duplicate-and-ledger-gone",
        (End("talk.mp3", EITHER), End("copy.mp3", EITHER, same_as="talk.mp3")),
        before=_run_out,
        between=_ledger_gone,
        rebuilt=True,
        start_counts=True,
    ),
    Scenario("copied", _ends("a.mp3", "sub/c.mp3"), start_counts=True, **_COPIED),
    Scenario("copied-while-it-changes", _ends("talk.mp3"), act=_changes_while_it_is_copied, **_COPIED),
    Scenario("copied-and-all-known", _ends("a.mp3", "sub/c.mp3"), before=_run_out, start_counts=True, **_COPIED),
    Scenario("copied-and-touched", _ends("a.mp3", "b.mp3"), before=_run_out, between=_touched, **_COPIED),
    Scenario("copied-and-failing", _ends("bad.mp3", states=FAILED), {"bad.mp3": [NOT_MEDIA]}, **_COPIED),
    Scenario(
        "copied-and-withdrawn",
        _ends("talk.mp3"),
        before=_claim_only,
        between=_withdrawn,
        withdrawn=("talk.mp3",),
        **_COPIED,
    ),
    Scenario(
        "copied-and-resumed", _ends("talk.mp3"), before=_die_behind_the_first_window, start_counts=True, **_COPIED
    ),
    Scenario(
        "copied-with-a-settings-file",
        (End("bad.mp3"), End("talk.mp3")),
        settings={"bad.mp3.toml": _RIGHT, "talk.mp3.toml": _RIGHT + "#"},
        before=_run_out,
        interruptions_before={"bad.mp3": [NOT_MEDIA]},
        insist=_retry,
        **_COPIED,
    ),
    Scenario("copied-duplicate", (End("talk.mp3"), _COPY), before=_run_out, **_COPIED),
    Scenario(
        "copied-and-retried",
        _ends("bad.mp3"),
        before=_run_out,
        interruptions_before={"bad.mp3": [NOT_MEDIA]},
        insist=_retry,
        **_COPIED,
    ),
    Scenario(
        "copied-and-deleted",
        _ends("talk.mp3", states=("forgotten",)),
        before=_run_out,
        insist=_delete(Request.DELETE_RECORDING),
        **_COPIED,
    ),
    Scenario(
        "copied-and-ledger-gone",
        (End("done.mp3"), End("talk.mp3")),
        before=_run_out,
        between=_ledger_gone,
        rebuilt=True,
        start_counts=True,
        **_COPIED,
    ),
)

KILLER = Scenario(
    "kills-the-service",
    (End("bad.mp3", FAILED), End("talk.mp3")),
    {"bad.mp3": [lambda: os.kill(os.getpid(), signal.SIGKILL)]},
    sections={"engine": {"isolation": "thread"}},
)
"""A recording that ends the service whenever it is worked on; not among the others, since it needs no fault of ours."""


def scenario(name: str) -> Scenario:
    """Return a scenario by its name."""
    return next(one for one in SCENARIOS if one.name == name)


def chosen(names: Iterable[str]) -> tuple[Scenario, ...]:
    """Return scenarios by their names; all where none is named."""
    return tuple(scenario(name) for name in names) or SCENARIOS


__all__ = ["SCENARIOS", "End", "Place", "Scenario", "chosen", "make_place", "place_in", "scenario"]
