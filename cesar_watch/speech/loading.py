"""Load the model, and turn what may go wrong into errors of ours. Engine side only."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import ctranslate2
import numpy as np

from cesar_watch.core.errors import ModelError
from cesar_watch.speech.protocol import Setup, is_out_of_memory
from cesar_watch.speech.whisper import Whisper

WINDOW_FRAMES = 3000
"""What Whisper's encoder takes at a time: 30 s in steps of 10 ms."""


class LoadedModel(NamedTuple):
    """A model, and why the CPU computes though there is a GPU, in a sentence; None where nothing is amiss."""

    model: Whisper
    fell_back: str | None


def load_model(
    setup: Setup,
    *,
    count_gpus: Callable[[], int] = ctranslate2.get_cuda_device_count,
    make: Callable[..., Whisper] = Whisper,
) -> LoadedModel:
    """Load the model on the device that the setup names.

    "auto" is a GPU that works, or else the CPU: whatever goes wrong on the GPU, be it only in the first computation,
    is a reason to fall back. Nothing is fetched.

    Args:
        count_gpus, make: Stand for CTranslate2 and faster-whisper, where the real ones are not wanted.

    Raises:
        ModelError: `compute_type_unsupported`, `out_of_memory` or `model_unusable`; nothing stays loaded.
    """
    load = partial(_load, setup, partial(make, cpu_threads=setup.threads, num_workers=setup.workers))
    if setup.device != "auto":
        return LoadedModel(load(setup.device), None)
    if not count_gpus():
        return LoadedModel(load("cpu"), None)
    try:
        return LoadedModel(load("cuda"), None)
    except ModelError as fault:
        fell_back = f"The GPU can't be used, so the CPU computes. {fault}"
    try:
        return LoadedModel(load("cpu"), fell_back)
    except ModelError as fault:
        raise ModelError(f"{fell_back} There: {fault}", reason=fault.reason) from fault


def _load(setup: Setup, make: Callable[..., Whisper], device: str) -> Whisper:
    try:
        _check_compute_type(setup.compute_type, device)
        model = make(setup.model_path, device=device, compute_type=setup.compute_type, local_files_only=True)
        if device == "cuda":
            _compute_once(model)
    except ModelError:
        raise
    # The libraries below raise bare RuntimeError, ValueError and Exception for a bad model or device.
    except Exception as fault:
        raise not_loaded(setup, device, fault) from fault
    return model


def not_loaded(setup: Setup, device: str, fault: Exception) -> ModelError:
    """Return the error of ours for what a library raised while it loaded the model on a device."""
    if is_out_of_memory(fault):
        return ModelError(
            f"The model in {setup.model_path} does not fit into the memory that there is for it: choose a smaller "
            "engine.model, or see to engine.memory_limit_bytes if it is set.",
            reason="out_of_memory",
        )
    return ModelError(
        f"The model in {setup.model_path} can't be loaded on {device} with {setup.compute_type}: "
        f"{fault}. Check engine.model, engine.device and engine.compute_type"
        + ("; a GPU needs CUDA 12 with cuBLAS." if device == "cuda" else ".")
    )


def _check_compute_type(compute_type: str, device: str) -> None:
    if compute_type in ("default", "auto"):
        return
    supported = ctranslate2.get_supported_compute_types(device)
    if compute_type not in supported:
        raise ModelError(
            f'engine.compute_type = "{compute_type}" can\'t be computed on {device} of this machine. '
            f'Here there are: {", ".join(sorted(supported))}; "auto" takes the fastest of them.',
            reason="compute_type_unsupported",
        )


def _compute_once(model: Whisper) -> None:
    """Encode 30 s of nothing: libraries of the GPU are loaded only when they have something to do."""
    mels = model.feature_extractor.mel_filters.shape[0]
    nothing = ctranslate2.StorageView.from_array(np.zeros((1, mels, WINDOW_FRAMES), np.float32))
    # To the CPU, since a GPU's faults show only when somebody waits for its result.
    model.model.encode(nothing, to_cpu=True)
