from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from cesar_watch.core.errors import AttemptError
from cesar_watch.speech.calls import Call, Calls, converse, drop
from cesar_watch.speech.protocol import (
    Conclude,
    Drop,
    Durable,
    Event,
    Failed,
    Finished,
    Heard,
    Loading,
    Message,
    Started,
    WindowDone,
    request_for,
)
from tests.fakes import window

REQUEST = request_for(Path("talk.wav"), {})
FINISHED = Finished(duration_s=10.0, declared_s=None, skipped_packets=0)


class Gone(AttemptError):
    pass


class Scripted:
    """An engine that answers what is said to it: the first time with these events, then with nothing."""

    def __init__(self, call: Call, *events: Event) -> None:
        self.said: list[Message] = []
        self._call = call
        self._events = list(events)

    def say(self, number: int, message: Message) -> None:
        assert number == self._call.number
        self.said.append(message)
        while self._events:
            self._call.answer(self._events.pop(0))


def begun(calls: Calls | None = None) -> Call:
    call = (Calls() if calls is None else calls).begin()
    assert call is not None
    return call


def talk(call: Call, engine: Scripted, *, looks: float = math.inf, polls: list[None] | None = None) -> list[Event]:
    """Converse with a service that looks so many times whether it is ending before it is."""
    polled = [] if polls is None else polls
    looked = itertools.count()
    events = converse(
        call,
        REQUEST,
        engine.say,
        poll=lambda: polled.append(None),
        poll_every_s=0.01,
        is_ending=lambda: next(looked) >= looks,
    )
    return list(events)


def test_conversation_ends_with_the_last_event_and_says_what_is_durable() -> None:
    call = begun()
    events: list[Event] = [
        Started(declared_s=None, expected_s=9.0),
        Heard(heard_s=1.0),
        WindowDone(window=window(4, "a")),
        FINISHED,
    ]
    engine = Scripted(call, *events)
    polls: list[None] = []
    assert talk(call, engine, polls=polls) == events
    assert engine.said == [REQUEST, Durable(index=4)]
    assert len(polls) >= len(events)


def test_conversation_is_concluded_once_while_the_service_is_ending_and_goes_on_to_its_end() -> None:
    call = begun()
    events: list[Event] = [*(WindowDone(window=window(index, "a")) for index in range(2)), Failed.concluded()]
    engine = Scripted(call, *events)
    assert talk(call, engine, looks=1) == events
    assert engine.said == [REQUEST, Conclude(), Durable(index=0), Durable(index=1)]


def test_conversation_of_a_service_that_is_ending_already_asks_for_nothing() -> None:
    call = begun()
    engine = Scripted(call, WindowDone(window=window(0, "a")))
    assert talk(call, engine, looks=0) == [Failed.concluded()]
    assert engine.said == []
    assert call.is_over


def test_conversation_of_a_service_that_is_ending_does_not_wait_for_the_model_to_be_loaded() -> None:
    call = begun()
    engine = Scripted(call, Loading())
    assert talk(call, engine, looks=2) == [Loading(), Failed.concluded()]
    assert not call.is_over


def test_conversation_that_is_ending_before_the_engine_tells_that_it_loads_does_not_wait_for_the_model_either() -> None:
    call = begun()
    engine = Scripted(call, Loading())
    assert talk(call, engine, looks=1) == [Loading(), Failed.concluded()]
    assert engine.said == [REQUEST, Conclude()]
    assert not call.is_over


def test_event_is_for_its_call_alone_and_one_about_the_engine_for_all() -> None:
    calls = Calls()
    one, other = begun(calls), begun(calls)
    calls.deliver(one.number, Heard(heard_s=1.0))
    calls.deliver(0, Heard(heard_s=2.0))
    calls.deliver(99, Heard(heard_s=3.0))
    assert [one.next(0), one.next(0), one.next(0)] == [Heard(heard_s=1.0), Heard(heard_s=2.0), None]
    assert [other.next(0), other.next(0)] == [Heard(heard_s=2.0), None]


def test_engine_that_is_gone_ends_all_calls_and_takes_no_more() -> None:
    calls = Calls()
    open_calls = [begun(calls), begun(calls)]
    calls.break_off(lambda number: Gone(f"{number} were open"))
    for call in open_calls:
        with pytest.raises(Gone, match="2 were open"):
            call.next(0)
        assert call.is_over
    assert calls.begin() is None
    assert not calls


def test_call_that_has_ended_is_not_among_those_that_are_broken_off() -> None:
    calls = Calls()
    one, other = begun(calls), begun(calls)
    calls.end(one)
    calls.break_off(lambda number: Gone(f"{number} were open"))
    with pytest.raises(Gone, match="1 were open"):
        other.next(0)


def test_dropped_call_is_over_when_the_engine_has_let_go_of_it() -> None:
    call = begun()
    engine = Scripted(call, WindowDone(window=window(0, "late")), Failed.dropped())
    assert drop(call, engine.say, 5.0)
    assert engine.said == [Drop()]


def test_call_that_is_over_is_not_dropped() -> None:
    call = begun()
    call.answer(FINISHED)
    call.next(0)
    engine = Scripted(call)
    assert drop(call, engine.say, 5.0)
    assert engine.said == []


def test_engine_that_does_not_let_go_is_not_waited_for_longer_than_asked() -> None:
    call = begun()
    assert not drop(call, Scripted(call, Heard(heard_s=1.0)).say, 0.05)


def test_engine_that_dies_when_it_should_let_go_has_let_go() -> None:
    calls = Calls()
    call = begun(calls)
    calls.break_off(lambda _: Gone("dead"))
    assert drop(call, Scripted(call).say, 5.0)
