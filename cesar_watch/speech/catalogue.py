"""Which models there are: the bundled one, the known sizes, what else the hub's cache has, and the one that is used.

The network is not touched, nor any folder changed.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cesar_watch.core.errors import ModelError
from cesar_watch.speech import hub
from cesar_watch.speech.memory import Use, known_weights, needed_bytes, weights_in
from cesar_watch.speech.models import SIZES, find_model

_MULTILINGUAL_TOKENS: Final = 51_865
"""CTranslate2's own mark: a model with fewer knows one language."""


@dataclass(frozen=True)
class Listed:
    """A model, as far as it is known.

    Attributes:
        name: What `engine.model` says for it.
        folder: Where it lies; None if it is not on disk, or not whole.
        size_bytes: What it takes on disk, or will take.
        memory_bytes: About what the engine needs with it.
        languages: "many" or "English".
        is_chosen: It is the one that is used.
    """

    name: str
    folder: Path | None
    size_bytes: int | None
    memory_bytes: int | None
    languages: str | None
    is_chosen: bool


def list_models(use: Use, chosen: str | None) -> list[Listed]:
    """Return all models, the known sizes each once, though some have two names.

    Args:
        use: How they are to be used; memory depends on it.
        chosen: The `engine.model` that is used, if that is known.
    """
    names = {hub_id: name for name, hub_id in reversed(SIZES.items())}
    sizes = list(reversed(names.values()))
    others = [hub_id for hub_id in hub.cached_ids() if hub_id not in names and _folder(hub_id)]
    used = None if chosen is None else names.get(SIZES.get(chosen, chosen), chosen)
    listed = ["demo", *sizes, *others]
    if used is not None and used not in listed:
        listed.append(used)
    return [_look_at(name, use, is_chosen=name == used) for name in listed]


def _look_at(name: str, use: Use, *, is_chosen: bool) -> Listed:
    folder = _folder(name)
    weights = weights_in(folder / "model.bin") if folder else known_weights(name)
    size_bytes = _size_bytes(folder) if folder else weights and weights.stored_bytes
    memory_bytes = weights and needed_bytes(weights, use)
    return Listed(name, folder, size_bytes, memory_bytes, _languages(name, folder), is_chosen)


def _folder(name: str) -> Path | None:
    with contextlib.suppress(ModelError):
        return find_model(name)
    return None


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _languages(name: str, folder: Path | None) -> str | None:
    if name in SIZES:
        # Those that were distilled have heard English alone, though some have the tokens for more.
        return "English" if name.endswith(".en") or name.startswith("distil-") else "many"
    try:
        tokens = json.loads((folder / "vocabulary.json").read_bytes()) if folder else None
    except (OSError, ValueError):
        return None
    return tokens and ("many" if len(tokens) >= _MULTILINGUAL_TOKENS else "English")
