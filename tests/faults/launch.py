"""Start the real command, with every window that its engine begins and ends told to a file.

    STORM_LOG=FILE STORM_LIFE=7 python -m tests.faults.launch run --config config.toml

The lines are `LIFE EVENT JOB WINDOW SECONDS`, in the monotonic clock's seconds; they are the only witness of work that
a kill has wasted, since the product keeps no account of it. Apart from them this is `python -m cesar_watch`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cesar_watch.core.transcript import Window
    from cesar_watch.speech.hearing import Hearing
    from cesar_watch.speech.protocol import Setup
    from cesar_watch.speech.recognizer import Recognizer
    from cesar_watch.speech.windows import Cut

ENGINE = "engine"


def tell(event: str, job: str, window: int) -> None:
    """Add a line to the log, whole or not at all."""
    line = f"{os.environ['STORM_LIFE']} {event} {job} {window} {time.monotonic():.4f}\n"
    descriptor = os.open(os.environ["STORM_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def service() -> None:
    """Run the command; its engine is started through this module."""
    from cesar_watch.core.held_signals import hold

    # As `cesar_watch.__main__` does, before anything that takes time.
    hold()
    from cesar_watch.cli.main import main
    from cesar_watch.speech import engine_process

    engine_process._engine_command = _engine_command
    main()


def _engine_command(setup: Setup) -> list[str]:
    return [sys.executable, "-P", "-X", "faulthandler", "-m", "tests.faults.launch", ENGINE, setup.model_dump_json()]


def engine() -> int:
    """Run the engine, telling of every window."""
    from cesar_watch.speech import engine_main, hearing, recognizer

    del sys.argv[1]
    listen, recognize = hearing.Hearing.listen, recognizer.Recognizer.recognize
    at_work = threading.local()

    def told_listen(hearing: Hearing, cut: Cut) -> bool:
        at_work.job = Path(hearing._request.path).parent.name
        return listen(hearing, cut)

    def told_recognize(recognizer: Recognizer, cut: Cut, *rest: Any, **more: Any) -> Window:
        tell("begin", at_work.job, cut.index)
        window = recognize(recognizer, cut, *rest, **more)
        tell("done", at_work.job, cut.index)
        return window

    hearing.Hearing.listen = told_listen  # type: ignore[assignment, method-assign]
    recognizer.Recognizer.recognize = told_recognize  # type: ignore[assignment, method-assign]
    return engine_main.main()


if __name__ == "__main__":
    if sys.argv[1:2] == [ENGINE]:
        raise SystemExit(engine())
    service()
