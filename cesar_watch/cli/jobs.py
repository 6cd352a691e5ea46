"""List jobs, show one, and ask the service to cancel, retry or delete."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from cesar_watch.cli.common import ConfigOption, IdArgument, JsonOption, out, settings_for, tell_snapshot, wait_until
from cesar_watch.cli.tables import facts_table, job_facts, jobs_table, plain, utc_now
from cesar_watch.core.config import Settings
from cesar_watch.core.errors import AlreadyRunning, CesarError, UsageError
from cesar_watch.core.humanize import count, printable
from cesar_watch.core.instance import is_running
from cesar_watch.core.job import REQUEUABLE, TERMINAL, Job, Request, State
from cesar_watch.delivery.sidecar import sidecar
from cesar_watch.service import recovery
from cesar_watch.service.house import House, open_house, visit_house
from cesar_watch.service.requests import carry_out_requests
from cesar_watch.service.sources import is_source

ANSWER_S = 8.0
"""How long a command waits for the running service to see to a request."""

_STATUS = {
    "pending": [State.PENDING],
    "processing": [State.PROCESSING, State.TRANSCRIBED],
    "completed": [State.COMPLETED],
    "failed": [State.FAILED],
    "cancelled": [State.CANCELLED],
    "duplicate": [State.DUPLICATE],
}


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (jobs, show, cancel, retry, delete):
        app.command()(command)


def jobs(
    config: ConfigOption = None,
    status: Annotated[
        str | None,
        typer.Option(help="Only jobs that are pending, processing, completed, failed, cancelled or duplicate."),
    ] = None,
    page: Annotated[int, typer.Option(min=1, help="Which page, newest jobs first.")] = 1,
    page_size: Annotated[int, typer.Option(min=1, max=1000, help="Jobs on a page.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first."""
    if status is not None and status not in _STATUS:
        raise UsageError(f"There is no status {status!r}: use one of {', '.join(_STATUS)}.")
    states = _STATUS[status] if status else [state for some in _STATUS.values() for state in some]
    with visit_house(settings_for(config)) as house:
        counts = house.ledger.counts()
        listed = house.ledger.jobs(states, newest_first=True, limit=page_size, skip=(page - 1) * page_size)
        tell_snapshot(house.ledger.is_snapshot)
    total = sum(counts[state] for state in states)
    if as_json:
        page_fields = {"page": page, "page_size": page_size, "total": total}
        typer.echo(json.dumps({**page_fields, "jobs": [sidecar(job) for job in listed]}, ensure_ascii=False, indent=2))
        return
    if not listed:
        out.print("No such jobs." if total == 0 else f"Page {page} is empty; there are {count(total, 'job')}.")
        return
    out.print(jobs_table(listed, utc_now()), soft_wrap=False)
    if total > len(listed):
        out.print(f"Page {page} of {-(-total // page_size)}; {count(total, 'job')} in all.", style="dim")


def show(job_id: IdArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show one job: where it stands, why, and how it got there."""
    with visit_house(settings_for(config)) as house:
        job = house.ledger.find(job_id)
        history = house.ledger.history(job)
        tell_snapshot(house.ledger.is_snapshot)
    if as_json:
        fields = {**sidecar(job), "interruptions": job.interruptions, "history": _plain_history(history)}
        typer.echo(json.dumps(fields, ensure_ascii=False, indent=2))
        return
    out.print(facts_table(job_facts(job, utc_now())))
    out.print(Text("History", style="bold"))
    for line in _plain_history(history):
        reason = f" ({line['reason']})" if line["reason"] else ""
        out.print(plain(f"  {line['at']}  {line['from']} -> {line['to']}: {line['event']}{reason}"))


def _plain_history(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "at": datetime.fromtimestamp(row["at"], UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "event": row["event"],
            "from": row["from_state"],
            "to": row["to_state"],
            "attempt": row["attempt"],
            "reason": row["reason"],
        }
        for row in history
    ]


def cancel(job_id: IdArgument, config: ConfigOption = None) -> None:
    """Stop a job; its recording goes to failed/."""
    settings = settings_for(config)
    allowed = (State.PENDING, State.PROCESSING, State.TRANSCRIBED)
    with visit_house(settings, asking=True) as house:
        job = _checked(house, job_id, allowed, "cancel")
        _ask(settings, house, [job], Request.CANCEL)
        _tell(house, job)


def retry(
    job_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A job's id, or a unique beginning.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Every job that failed.")] = False,
    config: ConfigOption = None,
) -> None:
    """Queue a failed or cancelled job again, or have a duplicate transcribed."""
    if (job_id is None) == (not failed):
        raise UsageError("Give either a job's ID or --failed.")
    settings = settings_for(config)
    with visit_house(settings, asking=True) as house:
        wanted = (
            house.ledger.jobs([State.FAILED])
            if job_id is None
            else [_checked(house, job_id, tuple(REQUEUABLE), "retry")]
        )
        _ask(settings, house, wanted, Request.RETRY)
        for job in wanted:
            _tell(house, job)
    if not wanted:
        out.print("No job failed.")


def delete(
    job_id: IdArgument,
    config: ConfigOption = None,
    recording: Annotated[
        bool, typer.Option("--recording", help="Delete the recording too; otherwise it stays where it rests.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a finished job: its transcripts, its sidecar and its entry."""
    settings = settings_for(config)
    with visit_house(settings, asking=True) as house:
        job = _checked(house, job_id, tuple(TERMINAL), "delete")
        what = _deleted_with(job, house.ledger.duplicates_of(job), recording=recording)
        if not yes:
            typer.confirm(f"Delete job {job.job_id[:8]} ({printable(job.display_name)}): {what}?", abort=True)
        _ask(settings, house, [job], Request.DELETE_RECORDING if recording else Request.DELETE)
        gone = wait_until(lambda: job.job_id not in house.ledger.ids(State), 0.0)
    out.print(f"{job.job_id[:8]}: {'deleted' if gone else 'will be deleted by the service'}.")


def _deleted_with(job: Job, duplicates: int, *, recording: bool) -> str:
    """Say what goes with a job, and what stays behind it."""
    and_recording = " (the recording stays)"
    if recording:
        and_recording = (
            " (the recording stays: its inbox is not ours)" if is_source(job.source) else " AND the recording"
        )
    if job.state is State.DUPLICATE:
        return f"its entry{and_recording}; the transcripts are another job's"
    what = f"transcripts{and_recording}"
    return what if not duplicates else f"{what}; {count(duplicates, 'duplicate')} of it will point at nothing"


def _checked(house: House, prefix: str, states: tuple[State, ...], verb: str) -> Job:
    job = house.ledger.find(prefix)
    if job.state not in states:
        raise UsageError(
            f"Job {job.job_id[:8]} is {job.state.shown}; only jobs that are "
            f"{' or '.join(sorted({state.shown for state in states}))} can be used with {verb}."
        )
    return job


def _ask(settings: Settings, house: House, wanted: list[Job], request: Request) -> None:
    """Note the request; then wait for the running service to see to it, or do it here when none runs."""
    for job in wanted:
        house.ledger.ask(job, request)
    if not is_running(settings.state_dir):
        try:
            with open_house(settings) as own:
                recovery.recover(own)
                carry_out_requests(own)
            return
        except AlreadyRunning:
            # A service started in this very moment; it finds the request.
            pass
    ids = {job.job_id for job in wanted}
    wait_until(lambda: not any(job.job_id in ids for job in house.ledger.requested()), ANSWER_S)


def _tell(house: House, job: Job) -> None:
    try:
        now = house.ledger.get(job.job_id)
    except CesarError:
        return
    pending = f"; the service will {now.request} it as soon as it can" if now.request else ""
    out.print(f"{now.job_id[:8]} {printable(now.display_name)}: {now.state.shown}{pending}", markup=False)
