"""What the running service is up to, for other processes: a small file beside the ledger.

Written only when something changes, so that an idle service leaves the disk asleep. Whether a service
runs at all is asked of the lock, never of this file.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from cesar_watch.core.durable import write_replace

Phase = str
"""starting, ready, paused or stopping."""


class ServiceState(BaseModel):
    """The service's own account of itself. Times are RFC 3339 in UTC."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    pid: int
    phase: Phase
    message: str
    started_at: str


def write_state(state_dir: Path, state: ServiceState) -> None:
    """Replace the account. A disk that can't take it is passed over: it is only an account."""
    try:
        write_replace(state_dir / "service.json", state.model_dump_json().encode() + b"\n", staging=state_dir)
    except OSError:
        return


def read_state(state_dir: Path) -> ServiceState | None:
    """Return the last account, or None where there is none that can be read."""
    try:
        return ServiceState(**json.loads((state_dir / "service.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
