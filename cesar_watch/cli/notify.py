"""`notify`: try the channels, see what was told, send dead letters again."""

from __future__ import annotations

import json

import typer

from cesar_watch.cli.common import ConfigOption, JsonOption, out, settings_for
from cesar_watch.cli.tables import notices_table, utc_now
from cesar_watch.core.errors import CesarError, ConfigError
from cesar_watch.core.humanize import count
from cesar_watch.delivery.send import describe_channel, send
from cesar_watch.service.house import visit_house

app = typer.Typer(help="Try the channels, see what was told, send dead letters again.", no_args_is_help=True)


def register(main: typer.Typer) -> None:
    """Add this module's commands."""
    main.add_typer(app, name="notify")


@app.command()
def test(config: ConfigOption = None) -> None:
    """Send a test message to every channel now."""
    channels = settings_for(config).notify
    if not channels:
        raise ConfigError("There is no channel: add a [[notify]] table with a url to the configuration.")
    failed = 0
    for channel in channels:
        where = describe_channel(channel.url)
        try:
            send(channel, "cesar-watch: test", "This channel works.", None)
            out.print(f"{where}: sent", markup=False)
        except CesarError as fault:
            failed += 1
            out.print(f"{where}: {fault}", markup=False)
    raise typer.Exit(1 if failed else 0)


@app.command(name="list")
def list_notices(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the newest notices: sent, waiting, and dead letters with their last error."""
    with visit_house(settings_for(config)) as house:
        notices = house.ledger.notices.recent()
    if as_json:
        rows = [
            {
                "job_id": queued.notice.job_id,
                "event": queued.notice.event,
                "status": queued.status.value,
                "attempts": queued.attempts,
                "title": queued.notice.title,
                "last_error": queued.last_error,
            }
            for queued in notices
        ]
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    elif notices:
        out.print(notices_table(notices, utc_now()), soft_wrap=False)
    else:
        out.print("No notices yet.")


@app.command()
def retry(config: ConfigOption = None) -> None:
    """Send every dead letter again; the running service (or the next one) does it."""
    with visit_house(settings_for(config), asking=True) as house:
        out.print(f"{count(house.ledger.notices.revive(), 'dead letter')} will be sent again.")
