"""Signals wait while nobody can answer them yet.

Imports take half a second. A Ctrl-C in the middle of them would show a traceback, a SIGHUP would kill the service;
held, they arrive as soon as somebody can answer.
"""

from __future__ import annotations

import signal

ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals by which a person or a service manager asks for something."""


def hold() -> None:
    """Let the asking signals wait. Before any import that takes time; for the main thread."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)


def let_go() -> None:
    """Let them arrive, those that waited first. Before any thread or process is started, which would hold them too."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)
