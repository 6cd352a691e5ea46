"""What is logged, whatever recordings are called."""

from __future__ import annotations

import logging

from cesar_watch.cli.common import Lines


def line(message: str, *values: object) -> str:
    return Lines("%(message)s").format(logging.LogRecord("x", logging.INFO, "x.py", 1, message, values, None))


def test_line_about_a_recording_with_controls_in_its_name_shows_none() -> None:
    assert line("%s: claimed", "\x1b[2Jtalk\x07.mp3") == "\ufffd[2Jtalk\ufffd.mp3: claimed"


def test_line_about_a_recording_with_a_newline_in_its_name_can_not_look_like_another() -> None:
    assert line("%s: claimed", "talk\n12:00:00 all is lost.mp3") == "talk\n  12:00:00 all is lost.mp3: claimed"


def test_line_with_a_traceback_keeps_it() -> None:
    try:
        raise ValueError("why")
    except ValueError as fault:
        kind = (ValueError, fault, fault.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "an error", (), kind)

    assert Lines("%(message)s").format(record).endswith("\nValueError: why")
