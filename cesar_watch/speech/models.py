"""Find the model that the settings name: on disk first, over the network only if allowed.

Nothing is loaded here, and no heavy library imported; what is on the hub is `hub`'s.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from cesar_watch.core.errors import ModelError
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.speech import hub

DEMO_DIR = Path(__file__).resolve().parent.parent / "assets" / "demo" / "model"
"""The model that ships in the package."""

_NEEDED: Final = {
    "model.bin": "the weights",
    "config.json": "the model's configuration",
    "tokenizer.json": "without it faster-whisper would ask the hub for one",
}

_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)

SIZES: Final = {
    "tiny.en": "Systran/faster-whisper-tiny.en",
    "tiny": "Systran/faster-whisper-tiny",
    "base.en": "Systran/faster-whisper-base.en",
    "base": "Systran/faster-whisper-base",
    "small.en": "Systran/faster-whisper-small.en",
    "small": "Systran/faster-whisper-small",
    "medium.en": "Systran/faster-whisper-medium.en",
    "medium": "Systran/faster-whisper-medium",
    "large-v1": "Systran/faster-whisper-large-v1",
    "large-v2": "Systran/faster-whisper-large-v2",
    "large-v3": "Systran/faster-whisper-large-v3",
    "large": "Systran/faster-whisper-large-v3",
    "distil-large-v2": "Systran/faster-distil-whisper-large-v2",
    "distil-medium.en": "Systran/faster-distil-whisper-medium.en",
    "distil-small.en": "Systran/faster-distil-whisper-small.en",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
}
"""faster-whisper's own table, which can't be imported without CTranslate2; a test compares them."""


def require_model(settings: EngineSettings) -> Path:
    """Return the folder of the model, complete; fetch it first if it is absent and `download` allows.

    What is on disk is used without touching the network. Fetching is that of `fetch_model`.

    Raises:
        ModelError: `model_incomplete`, `model_missing` (not on disk, and not to be fetched) or
            `model_unreachable` (fetching failed; what was fetched is kept).
    """
    folder = find_model(settings.model)
    if folder is not None:
        return folder
    if settings.download == "never":
        raise ModelError(
            f'The model "{settings.model}" is not on disk, and engine.download = "never". Run `cesar-watch models pull '
            f"{settings.model}` while the network is there, or set engine.model to a folder that holds the model.",
            reason="model_missing",
        )
    return fetch_model(settings.model)


def needs_fetching(settings: EngineSettings) -> bool:
    """Return whether the model is one of the hub's, not on disk, and may be fetched; never touches the network.

    Raises:
        ModelError: `model_missing`: it is neither a folder, nor a hub id, nor a size.
    """
    return settings.download == "auto" and not _is_local(settings.model) and _fetched(settings.model) is None


def find_model(model: str) -> Path | None:
    """Return the folder of a model on disk, complete, or None for one of the hub's; never touches the network.

    Args:
        model: As in `engine.model`.

    Raises:
        ModelError: `model_incomplete`, or `model_missing`: it is neither a folder, nor a hub id, nor a size.
    """
    if model == "demo":
        return _complete(DEMO_DIR)
    if _is_local(model):
        return _complete(Path(model).expanduser().absolute())
    return _fetched(model)


def fetch_model(model: str) -> Path:
    """Fetch one of the hub's models, with a progress bar on standard error, and return its folder, complete.

    It can take minutes; a broken-off fetch goes on where it was.

    Raises:
        ModelError: `model_missing`, `model_incomplete` (what the hub has is no whole model) or `model_unreachable`.
    """
    return _complete(hub.fetch(hub_id_of(model), model))


def hub_id_of(model: str) -> str:
    """Return the hub id of a size; a hub id is its own.

    Raises:
        ModelError: `model_missing`: it is neither.
    """
    if model in SIZES:
        return SIZES[model]
    if not _HUB_ID.fullmatch(model):
        raise ModelError(
            f'"{model}" is neither a folder, nor a hub id, nor one of the sizes {", ".join(sorted(SIZES))}. '
            "Correct engine.model.",
            reason="model_missing",
        )
    return model


def _is_local(model: str) -> bool:
    looks_like_path = model.startswith((".", "~", os.sep)) or model.count("/") > 1
    return model == "demo" or looks_like_path or (model not in SIZES and Path(model).is_dir())


def _fetched(model: str) -> Path | None:
    folder = hub.cached(hub_id_of(model))
    # A fetch that broke off leaves a folder with some of the files: that counts as absent.
    return folder if folder is not None and not _missing(folder) else None


def _missing(folder: Path) -> list[str]:
    return [name for name in _NEEDED if not (folder / name).is_file()]


def _complete(folder: Path) -> Path:
    if not folder.is_dir():
        raise ModelError(f"The model folder {folder} does not exist. Correct engine.model.", reason="model_missing")
    missing = _missing(folder)
    if missing:
        files = "; ".join(f"{name} ({_NEEDED[name]})" for name in missing)
        raise ModelError(
            f"The model in {folder} is incomplete: it lacks {files}. Copy the missing files there, or choose another.",
            reason="model_incomplete",
        )
    return folder
