"""`status`: what the service is doing, what waits and why, in one look; never loads anything heavy."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from cesar_watch.cli.common import SNAPSHOT, ConfigOption, JsonOption, out, settings_for
from cesar_watch.cli.tables import ago, by_reason, facts_table, jobs_table, utc_now
from cesar_watch.core.config import Settings
from cesar_watch.core.errors import folder_fault
from cesar_watch.core.humanize import count
from cesar_watch.core.instance import is_running
from cesar_watch.core.job import Job, State
from cesar_watch.delivery.sidecar import sidecar
from cesar_watch.intake.scan import Candidate, Rejected, scan
from cesar_watch.service.house import visit_house
from cesar_watch.service.instances import Left, left_behind
from cesar_watch.service.sources import Sources
from cesar_watch.service.state_file import ServiceState, read_state

_COUNTED = (State.PENDING, State.COMPLETED, State.FAILED, State.CANCELLED, State.DUPLICATE)


@dataclass(frozen=True)
class Snapshot:
    """Everything `status` tells, taken at one moment."""

    running: bool
    account: ServiceState | None
    spool: str
    model: str
    waiting: int
    ignored: dict[str, int]
    parked: dict[str, int]
    counts: dict[str, int]
    current: list[Job]
    notices: dict[str, int]
    left: list[Left]
    is_old: bool
    trouble: str

    @property
    def phase(self) -> str:
        """The service's phase; "stopped" when no process holds the lock."""
        return self.account.phase if self.running and self.account else "starting" if self.running else "stopped"


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(status)


def status(
    config: ConfigOption = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep looking, once a second, until Ctrl-C.")] = False,
) -> None:
    """Show what the service is doing, and what waits."""
    settings = settings_for(config)
    if not watch:
        snapshot = take_snapshot(settings)
        if as_json:
            typer.echo(json.dumps(as_mapping(snapshot), ensure_ascii=False, indent=2))
        else:
            out.print(render(snapshot))
        return
    with Live(render(take_snapshot(settings)), console=out, auto_refresh=False) as live:
        while True:
            try:
                time.sleep(1.0)
            except KeyboardInterrupt:
                return
            live.update(render(take_snapshot(settings)), refresh=True)


def take_snapshot(settings: Settings) -> Snapshot:
    """Look at folders, lock and ledger.

    Raises:
        SpoolError, LedgerError: There is no spool, or its ledger can't be read.
    """
    try:
        return _take_snapshot(settings)
    except OSError as fault:
        raise folder_fault(fault) from None


def _take_snapshot(settings: Settings) -> Snapshot:
    with visit_house(settings) as house:
        sources = Sources(house)
        found = [item for item in scan(house.spool.inbox, settings.spool) if not sources.knows(item)]
        counts = house.ledger.counts()
        running, account = is_running(settings.state_dir), read_state(settings.state_dir)
        return Snapshot(
            running=running,
            account=account,
            spool=str(settings.spool.root),
            model=settings.engine.model,
            waiting=sum(isinstance(item, Candidate) for item in found),
            ignored=dict(Counter(item.rejection.reason for item in found if isinstance(item, Rejected)).most_common()),
            parked=account.parked if running and account else {},
            counts={
                **{state.value: counts[state] for state in _COUNTED},
                "processing": counts[State.PROCESSING] + counts[State.TRANSCRIBED],
            },
            current=house.ledger.jobs([State.PROCESSING, State.TRANSCRIBED]),
            notices={str(key): number for key, number in house.ledger.notices.counts().items()},
            left=left_behind(house.spool, utc_now()),
            is_old=house.ledger.is_snapshot,
            trouble=_trouble(settings.spool.root) or _trouble(settings.state_dir),
        )


def _trouble(folder: Path) -> str:
    """Say what is wrong with a folder's disk, looked at here and now: the service's account may lie on that disk."""
    there = os.statvfs(folder)
    if there.f_flag & os.ST_RDONLY:
        return f"{folder} is read-only: remount it writable"
    return f"{folder} is full: free some space" if there.f_bavail == 0 else ""


def as_mapping(snapshot: Snapshot) -> dict[str, Any]:
    """Return the snapshot for `--json`; jobs have the fields of their sidecars."""
    account = snapshot.account if snapshot.running else None
    return {
        "running": snapshot.running,
        "phase": snapshot.phase,
        "since_at": account.since_at if account else None,
        "reason": account.reason if account else "",
        "message": account.message if account else "",
        "pid": account.pid if account else None,
        "started_at": account.started_at if account else None,
        "spool": snapshot.spool,
        "disk": snapshot.trouble,
        "model": snapshot.model,
        "inbox": {"waiting": snapshot.waiting, "parked": snapshot.parked, "ignored": snapshot.ignored},
        "jobs": snapshot.counts,
        "current": [sidecar(job) for job in snapshot.current],
        "notices": snapshot.notices,
        "left_behind": [vars(left) for left in snapshot.left],
        "is_snapshot": snapshot.is_old,
    }


def render(snapshot: Snapshot, *, with_jobs: bool = True) -> Group:
    """Return the snapshot for a person, with the jobs that are being worked on."""
    account = snapshot.account if snapshot.running else None
    phase = snapshot.phase + (f" (process {account.pid})" if account else "")
    if account and account.phase == "paused":
        phase = f"paused {ago(account.since, utc_now())} (process {account.pid})"
    if account and account.message:
        phase += f": {account.message}"
    inbox = f"{count(max(0, snapshot.waiting - sum(snapshot.parked.values())), 'recording')} waiting to settle"
    if snapshot.parked:
        inbox += f", {sum(snapshot.parked.values())} put off ({by_reason(snapshot.parked)})"
    if snapshot.ignored:
        inbox += f", left alone: {by_reason(snapshot.ignored)}"
    order = ("pending", "processing", "completed", "failed", "cancelled", "duplicate")
    dead = snapshot.notices.get("dead", 0)
    facts = [
        ("Ledger", SNAPSHOT if snapshot.is_old else ""),
        ("Service", phase),
        ("Spool", snapshot.spool),
        ("Disk", snapshot.trouble),
        ("Model", snapshot.model),
        ("Left", " ".join(map(str, snapshot.left))),
        ("Inbox", inbox),
        ("Jobs", ", ".join(f"{snapshot.counts[name]} {name}" for name in order)),
        ("Notices", f"{count(dead, 'dead letter')}: `cesar-watch notify list`" if dead else ""),
    ]
    parts: list[Any] = [facts_table(facts)]
    if snapshot.current and with_jobs:
        parts += [Text(""), jobs_table(snapshot.current, utc_now())]
    return Group(*parts)
