"""Arrays by key, so many of them in memory and the rest in a temporary file: long intervals take no more than short."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_BYTES = 64 << 20
"""What a store keeps in memory unless told otherwise."""


class _Place(NamedTuple):
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class ArrayStore:
    """Keeps arrays; safe to use from several threads. What does not fit lies in a file without a name, which is gone
    with the store, in the folder for temporary files ($TMPDIR)."""

    def __init__(self, most: int | None = None) -> None:
        """Empty.

        Args:
            most: bytes to keep in memory; None: `MOST_BYTES`.
        """
        self._left = MOST_BYTES if most is None else most
        self._here: dict[Hashable, NDArray[Any]] = {}
        self._there: dict[Hashable, _Place] = {}
        self._file: Any = None
        self._end = 0
        self._lock = threading.Lock()

    def __getitem__(self, key: Hashable) -> NDArray[Any]:
        """The array, which must be left as it is.

        Raises:
            KeyError: there is none.
            OSError: the file cannot be read.
        """
        found = self._here.get(key)
        if found is not None:
            return found
        place = self._there[key]
        array = np.empty(place.shape, place.dtype)
        view, done = array.data.cast("B"), 0
        while done < len(view):
            count = os.preadv(self._file.fileno(), [view[done:]], place.offset + done)
            if count <= 0:
                raise OSError(f"{tempfile.gettempdir()}: a temporary file ended early; free space there")
            done += count
        return array

    def __setitem__(self, key: Hashable, array: NDArray[Any]) -> None:
        """Keeps an array, which must not be changed any more.

        Raises:
            OSError: it does not fit into memory, and the file cannot be written.
        """
        array = np.ascontiguousarray(array)
        with self._lock:
            if array.nbytes <= self._left:
                self._left -= array.nbytes
                self._here[key] = array
                return
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="stpn-")  # noqa: SIM115  as long as the store
            offset, self._end = self._end, self._end + array.nbytes
        view, done = array.data.cast("B"), 0
        while done < len(view):
            done += os.pwrite(self._file.fileno(), view[done:], offset + done)
        self._there[key] = _Place(offset, array.shape, array.dtype)
