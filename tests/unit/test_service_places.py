from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from cesar_watch.core.errors import ModelError
from cesar_watch.core.job import Job
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.service.places import Places
from cesar_watch.speech.protocol import Engine
from tests.builders import make_job
from tests.fakes import FakeEngine

USUAL, OTHER = EngineSettings(model="usual"), EngineSettings(model="other")
MINUTE_S, HOUR_S = 60.0, 3600.0


class Maker:
    """Makes engines, and remembers which."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, settings: EngineSettings) -> Engine:
        if settings.model == "missing":
            raise ModelError("There is no such model.")
        self.made.append(settings.model)
        return FakeEngine(idle_unload_s=300.0)


@pytest.fixture
def maker() -> Maker:
    return Maker()


def job(seq: int, *, done_s: float = 0.0, priority: int = 0) -> Job:
    options = make_job().options | {"priority": priority}
    return make_job(seq=seq, job_id=f"job-{seq}", done_s=done_s, options=options)


@contextlib.contextmanager
def at_work(places: Places, *jobs: Job) -> Iterator[None]:
    """Let a worker each work on these."""
    with contextlib.ExitStack() as stack:
        for number, one in enumerate(jobs):
            assert stack.enter_context(places.taken(f"worker {number}", one, USUAL)) is not None
        yield


def test_workers_share_one_engine(maker: Maker) -> None:
    places = Places(maker, 3)
    with places.taken("a", job(1), USUAL) as one, places.taken("b", job(2), USUAL) as other:
        assert one is other is not None
    assert maker.made == ["usual"]


def test_job_with_another_model_begins_when_nobody_works_with_the_first(maker: Maker) -> None:
    places = Places(maker, 3)
    with places.taken("a", job(1), USUAL), places.taken("b", job(2), OTHER) as refused:
        assert refused is None
    with places.taken("b", job(2), OTHER) as given:
        assert given is not None
    assert maker.made == ["usual", "other"]


def test_missing_model_is_told_and_nobody_has_an_engine_then(maker: Maker) -> None:
    places = Places(maker)
    with pytest.raises(ModelError), places.taken("a", job(1), EngineSettings(model="missing")):
        raise AssertionError("there is no engine")
    with places.taken("a", job(1), USUAL) as engine:
        assert engine is not None


@pytest.mark.parametrize(
    ("own", "others", "due", "gives_way"),
    [
        (job(1, done_s=HOUR_S), [job(2, done_s=HOUR_S)], job(3), False),
        (job(2, done_s=HOUR_S), [job(1, done_s=HOUR_S)], job(3), True),
        (job(2, done_s=HOUR_S), [job(1)], job(3), False),
        (job(2, done_s=HOUR_S), [job(1, done_s=10 * MINUTE_S)], job(3), True),
        (job(1, done_s=10 * MINUTE_S), [job(2, done_s=HOUR_S)], job(3), False),
        (job(2, done_s=MINUTE_S), [job(1, done_s=MINUTE_S)], job(3), False),
        (job(2, done_s=HOUR_S), [job(1, done_s=HOUR_S)], job(3, done_s=HOUR_S), False),
        (job(2), [job(1)], job(3, priority=1), True),
        (job(2, done_s=HOUR_S, priority=1), [job(1, done_s=HOUR_S, priority=1)], job(3), False),
        (job(2, done_s=HOUR_S), [job(1, done_s=HOUR_S)], None, False),
    ],
    ids=[
        "an-older-one-of-the-same-length-stays",
        "the-younger-of-two-long-ones-goes",
        "nobody-goes-where-a-short-one-ends-soon",
        "the-longer-one-goes",
        "the-less-long-one-stays",
        "nobody-goes-for-one-as-short-as-itself",
        "nobody-goes-for-one-as-long-as-itself",
        "anybody-goes-for-priority",
        "nobody-with-priority-goes",
        "nobody-goes-for-nobody",
    ],
)
def test_place_is_given_up_for_one_that_comes_first_and_finds_none(
    maker: Maker, own: Job, others: list[Job], due: Job | None, gives_way: bool
) -> None:
    places = Places(maker, 1 + len(others))
    with at_work(places, own, *others):
        assert places.gives_way(own, due, USUAL) is gives_way


def test_place_is_not_given_up_while_there_is_a_free_one(maker: Maker) -> None:
    places = Places(maker, 3)
    long = [job(1, done_s=HOUR_S), job(2, done_s=HOUR_S)]
    with at_work(places, *long):
        assert not any(places.gives_way(one, job(3), USUAL) for one in long)


def test_place_is_given_up_for_one_that_needs_another_model_though_there_are_free_ones(maker: Maker) -> None:
    places = Places(maker, 5)
    long, short = job(1, done_s=HOUR_S), job(2)
    with at_work(places, long, short):
        assert places.gives_way(long, job(3), OTHER)
        assert not places.gives_way(short, job(3), OTHER)


def test_place_goes_by_how_the_job_stands_now(maker: Maker) -> None:
    places = Places(maker, 1)
    with at_work(places, job(1)):
        places.works_on("worker 0", grown := job(1, done_s=10 * MINUTE_S))
        assert places.gives_way(grown, job(2), USUAL)


def test_suspect_works_alone_until_it_is_cleared(maker: Maker) -> None:
    places = Places(maker, 3)
    places.suspect("job-1")
    with places.taken("a", job(1), USUAL) as alone:
        assert alone is not None
        with places.taken("b", job(2), USUAL) as refused:
            assert refused is None
        places.clear("job-1")
        with places.taken("b", job(2), USUAL) as given:
            assert given is alone


def test_suspect_that_has_done_no_harm_makes_way_for_the_next_one(maker: Maker) -> None:
    places = Places(maker, 3)
    places.suspect("job-1")
    places.suspect("job-2")
    with places.taken("a", job(1), USUAL):
        places.clear("job-1")
        assert places.gives_way(job(1), None, None)
        places.clear("job-2")
        assert not places.gives_way(job(1), None, None)


def test_engine_is_unloaded_only_while_nobody_works(maker: Maker) -> None:
    places = Places(maker)
    with places.taken("a", job(1), USUAL) as engine:
        assert isinstance(engine, FakeEngine)
        engine._loaded = True
        places.unload_if_idle(1e9)
        assert engine._loaded
    places.unload_if_idle(1e9)
    assert not engine._loaded


def test_engine_ends_with_the_last_place(maker: Maker) -> None:
    places = Places(maker, 2)
    with places.taken("a", job(1), USUAL) as engine:
        pass
    assert isinstance(engine, FakeEngine)
    engine._loaded = True
    places.leave()
    assert engine._loaded
    places.leave()
    assert not engine._loaded
