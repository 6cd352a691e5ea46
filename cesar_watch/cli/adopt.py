"""`adopt`: take over what a dead instance left in processing/."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cesar_watch.cli.common import ConfigOption, out, settings_for, wait_until
from cesar_watch.core.errors import AlreadyRunning, UsageError, folder_fault
from cesar_watch.core.humanize import count, duration
from cesar_watch.core.instance import is_running
from cesar_watch.core.sign_of_life import BEAT_S, Life, Look, look
from cesar_watch.core.spool import Spool
from cesar_watch.service import recovery
from cesar_watch.service.house import House, open_house, visit_house
from cesar_watch.service.instances import folders_with_recordings, other_instances
from cesar_watch.service.takeover import carry_out_adoptions

WATCHED_S = 6 * BEAT_S
"""How long a sign must not change until its instance counts as dead: a beat may be late, and a network mount cache."""
RESTARTING_S = 4.0
"""The same where its lock is proof enough: a service that is being restarted is dead for this long at most."""
ANSWER_S = 10.0
"""How long the command waits for the running service to take over."""


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(adopt)


def adopt(
    instance: Annotated[str, typer.Argument(metavar="INSTANCE", help="Its id, or a beginning of it that is unique.")],
    config: ConfigOption = None,
) -> None:
    """Take over the recordings that a dead instance left in processing/."""
    settings = settings_for(config)
    try:
        if not is_running(settings.state_dir):
            try:
                with open_house(settings) as house:
                    recovery.recover(house)
                    _adopt(house, instance, lambda: carry_out_adoptions(house))
                return
            except AlreadyRunning as fault:
                if fault.reason == "instance_alive":
                    raise
                # A service started in this very moment: it is asked.
        with visit_house(settings, asking=True) as house:
            _adopt(house, instance, lambda: wait_until(lambda: not house.ledger.adoptions.asked(), ANSWER_S))
    except OSError as fault:
        raise folder_fault(fault) from None


def _adopt(house: House, prefix: str, carry_out: Callable[[], object]) -> None:
    instance = _found(house.spool, prefix)
    left = len(folders_with_recordings(house.spool, instance))
    if not left:
        out.print(f"Instance {instance} has left no recording in processing/.")
        return
    sign = _see_dead(house.spool.processing.parent / instance, instance)
    house.ledger.adoptions.ask(instance, sign.token)
    carry_out()
    if instance in house.ledger.adoptions.asked():
        out.print(f"The service will take over {count(left, 'recording')} of instance {instance} as soon as it can.")
        return
    still = len(folders_with_recordings(house.spool, instance))
    if still:
        raise _alive(instance, look(house.spool.processing.parent / instance))
    out.print(f"Took over {count(left, 'recording')} of instance {instance}: `cesar-watch jobs` lists them.")


def _found(spool: Spool, prefix: str) -> str:
    """Return the only other instance whose id begins so.

    Raises:
        UsageError: None does, or several do.
    """
    if prefix and spool.instance == prefix:
        raise UsageError(f"{prefix} is this instance itself: what it left is taken up when it starts.")
    others = other_instances(spool)
    found = [name for name in others if prefix and name.startswith(prefix)]
    if len(found) != 1:
        what = f"Several instances begin with {prefix!r}" if found else f"There is no other instance {prefix!r}"
        there = ", ".join(found or others) or "none"
        raise UsageError(f"{what}: processing/ has folders of {there}.", reason="no_such_instance")
    return found[0]


def _see_dead(folder: Path, instance: str) -> Look:
    """Watch an instance's sign of life for as long as it takes to be sure.

    Raises:
        AlreadyRunning: It lives.
    """
    first = look(folder)
    watched_s = RESTARTING_S if first.life is Life.DEAD else WATCHED_S
    console = Console(stderr=True)
    began_s = time.monotonic()
    with console.status("") as shown:
        if not console.is_terminal:
            console.print(f"Watching instance {instance} for a sign of life, for {duration(watched_s)} ...")
        while True:
            sign = look(folder)
            if sign.life is Life.ALIVE or sign.token != first.token:
                raise _alive(instance, sign)
            left_s = began_s + watched_s - time.monotonic()
            if left_s <= 0:
                return sign
            shown.update(f"Watching instance {instance} for a sign of life: {duration(left_s)} left")
            time.sleep(min(1.0, left_s))


def _alive(instance: str, sign: Look) -> AlreadyRunning:
    where = f" on {sign.host}" if sign.host else ""
    return AlreadyRunning(
        f"Instance {instance} is alive{where}: stop it there first. If that host lost its power just now, the file "
        "server may hold its lock for some minutes more: then try again later.",
        reason="instance_alive",
    )
