"""Talk to the service manager (sd_notify(3)): a datagram to the socket it names, or nothing without one."""

from __future__ import annotations

import os
import socket

DEAF_S = 1.0
"""A service manager that does not take a message for this long does not hear it."""


def sd_notify(*lines: str) -> None:
    """Send assignments such as "READY=1". Never raises: a deaf service manager must not stop the work."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(DEAF_S)
            channel.sendto("\n".join(lines).encode(), address)
    except OSError:
        return


def watchdog_interval_s() -> float | None:
    """Return how often the service manager wants to hear from us, with a margin of three; None if never."""
    limit_us = os.environ.get("WATCHDOG_USEC", "")
    ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(limit_us) / 3e6 if limit_us.isdigit() and ours else None
