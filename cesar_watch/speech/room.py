"""Room for large arrays, which goes back to the kernel when the last one who has it lets go. Engine side only.

In the heap, where small things lie between large ones, it would leave holes.
"""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_ITEM_BYTES = 4
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


def room(rows: int, columns: int) -> Floats:
    """Return float32 zeros of shape (rows, columns); memory is taken only where something is written.

    Raises:
        MemoryError: There is no room.
    """
    items = rows * columns
    try:
        mapped = mmap.mmap(-1, max(1, items) * _ITEM_BYTES, flags=_PRIVATE)
    except OSError as fault:
        raise MemoryError(str(fault)) from None
    return np.frombuffer(mapped, np.float32, items).reshape(rows, columns)
