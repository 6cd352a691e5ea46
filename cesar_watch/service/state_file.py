"""What the running service is up to, for other processes: a small file beside the ledger.

Written only when something changes, so that an idle service leaves the disk asleep. Whether a service
runs at all is asked of the lock, never of this file.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from cesar_watch.core.durable import write_replace

Phase = str
"""starting, ready, paused or stopping."""


class ServiceState(BaseModel):
    """The service's own account of itself. Times are RFC 3339 in UTC; `since_at` is when the phase began.

    `parked` counts the recordings in the inbox that wait for something else than their quiet window, by reason.
    A pause has a stable `reason` code, and a `message` that says what is wrong and what to do.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    pid: int
    phase: Phase
    message: str
    started_at: str
    reason: str = ""
    since_at: str = ""
    parked: dict[str, int] = {}

    @property
    def since(self) -> datetime | None:
        """`since_at` as a time; None where an older version's account doesn't tell."""
        return datetime.fromisoformat(self.since_at) if self.since_at else None


def write_state(state_dir: Path, state: ServiceState) -> bool:
    """Replace the account; return whether the disk took it. If not, the old one stays: it is only an account."""
    try:
        write_replace(state_dir / "service.json", state.model_dump_json().encode() + b"\n", staging=state_dir)
    except OSError:
        return False
    return True


def read_state(state_dir: Path) -> ServiceState | None:
    """Return the last account, or None where there is none that can be read."""
    try:
        return ServiceState(**json.loads((state_dir / "service.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
