"""Loading the model: on which device, with which numbers, and what is said where that can't be."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast, get_args

import ctranslate2
import pytest

from cesar_watch.core.errors import ModelError
from cesar_watch.core.recording_settings import ComputeType
from cesar_watch.speech.loading import load_model
from cesar_watch.speech.models import DEMO_DIR
from cesar_watch.speech.protocol import Setup
from cesar_watch.speech.whisper import Whisper

HERE = ctranslate2.get_supported_compute_types("cpu")
NOT_HERE = sorted(set(get_args(ComputeType)) - HERE - {"default", "auto"})

no_gpu = pytest.mark.skipif(ctranslate2.get_cuda_device_count() > 0, reason="this machine has a GPU")


def setup(**changes: str | int) -> Setup:
    return Setup(model_path=str(DEMO_DIR), **cast(dict[str, Any], changes))


def gpu_that(encode: Callable[..., object]) -> Callable[..., Whisper]:
    """Return a maker of models on a GPU whose computations are `encode`; on the CPU they are real."""

    def make(path: str, *, device: str, **options: Any) -> Any:
        if device == "cpu":
            return Whisper(path, device=device, **options)
        filters = SimpleNamespace(shape=(80, 201))
        model = SimpleNamespace(encode=encode, device="cuda")
        return SimpleNamespace(feature_extractor=SimpleNamespace(mel_filters=filters), model=model)

    return make


def without_cublas(*_: object, **__: object) -> object:
    raise RuntimeError("Library libcublas.so.12 is not found or cannot be loaded")


@pytest.mark.parametrize("compute_type", ["default", "auto", *sorted(HERE)])
def test_model_is_loaded_with_each_compute_type_that_there_is(compute_type: str) -> None:
    loaded = load_model(setup(device="cpu", compute_type=compute_type))
    assert (loaded.model.model.device, loaded.fell_back) == ("cpu", None)


@pytest.mark.parametrize("compute_type", NOT_HERE)
def test_compute_type_that_this_machine_lacks_is_told_with_those_there_are(compute_type: str) -> None:
    with pytest.raises(ModelError) as raised:
        load_model(setup(device="cpu", compute_type=compute_type))
    assert raised.value.reason == "compute_type_unsupported"
    assert f'"{compute_type}"' in str(raised.value)
    assert all(known in str(raised.value) for known in HERE)


def test_model_has_as_many_workers_and_threads_as_it_is_told() -> None:
    asked: dict[str, Any] = {}

    def make(path: str, **options: Any) -> Whisper:
        asked.update(options)
        return Whisper(path, **options)

    loaded = load_model(setup(device="cpu", workers=3, threads=1), make=make)
    assert loaded.model.model.num_workers == 3
    assert asked["cpu_threads"] == 1


@no_gpu
def test_auto_without_a_gpu_is_the_cpu_and_no_fall_back() -> None:
    loaded = load_model(setup(device="auto"))
    assert (loaded.model.model.device, loaded.fell_back) == ("cpu", None)


@no_gpu
def test_auto_with_a_gpu_that_does_not_answer_falls_back_and_tells_why() -> None:
    loaded = load_model(setup(device="auto"), count_gpus=lambda: 1)
    assert loaded.model.model.device == "cpu"
    assert "CUDA" in str(loaded.fell_back)


def test_auto_with_a_gpu_that_fails_only_when_it_computes_falls_back_and_tells_why() -> None:
    loaded = load_model(setup(device="auto"), count_gpus=lambda: 1, make=gpu_that(without_cublas))
    assert loaded.model.model.device == "cpu"
    assert "libcublas" in str(loaded.fell_back)


def test_auto_with_a_gpu_that_computes_is_the_gpu() -> None:
    heard: list[tuple[int, ...]] = []

    def encode(features: ctranslate2.StorageView, *, to_cpu: bool) -> None:
        assert to_cpu
        heard.append(tuple(features.shape))

    loaded = load_model(setup(device="auto"), count_gpus=lambda: 1, make=gpu_that(encode))
    assert (loaded.model.model.device, loaded.fell_back) == ("cuda", None)
    assert heard == [(1, 80, 3000)]


def test_gpu_that_was_asked_for_and_fails_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"libcublas.*engine\.device") as raised:
        load_model(setup(device="cuda"), make=gpu_that(without_cublas))
    assert raised.value.reason == "model_unusable"


def test_auto_where_neither_device_can_load_it_is_an_error_that_tells_of_both() -> None:
    asked = setup(device="auto", compute_type=NOT_HERE[0])
    with pytest.raises(ModelError, match=r"GPU can't be used.*can't be computed on cpu") as raised:
        load_model(asked, count_gpus=lambda: 1, make=gpu_that(without_cublas))
    assert raised.value.reason == "compute_type_unsupported"


def test_model_that_does_not_fit_into_the_memory_says_so() -> None:
    def make(*_: object, **__: object) -> Whisper:
        raise MemoryError

    with pytest.raises(ModelError, match="memory") as raised:
        load_model(setup(device="cpu"), make=make)
    assert raised.value.reason == "out_of_memory"
