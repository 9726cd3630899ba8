"""Frames of plate and keys, read side by side while somebody may ask to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from stpn.engine.stages import stage
from stpn.ocio.atomic import what_to_do
from stpn.ocio.plate import Plate, PlateError
from stpn.plugin.frame_source import FrameSource
from stpn.plugin.request import one_line

T = TypeVar("T")


class RenderError(Exception):
    """A frame could not be made; the message says which and why.

    Attributes:
        frame: the frame of plate or keys that could not be read, or the result that could not be made; None: neither.
    """

    def __init__(self, message: str, frame: int | None = None) -> None:
        super().__init__(one_line(message))
        self.frame = frame


class Cancelled(Exception):
    """Somebody asked to stop; every file that is there is whole."""


@contextmanager
def telling(frame: int) -> Iterator[None]:
    """Names the frame in whatever goes wrong within."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        raise RenderError(f"frame {frame}: {where}{error.strerror or error}{what_to_do(error)}", frame) from error
    except (PlateError, MemoryError) as error:
        raise RenderError(f"frame {frame}: {str(error) or type(error).__name__}", frame) from error


class Reader:
    """Reads plate frames and keys, and runs work side by side.

    Every call raises `Cancelled` where somebody asked to stop, and `RenderError` where a frame cannot be read.
    """

    def __init__(
        self,
        plate: FrameSource,
        keys: FrameSource,
        cancelled: threading.Event,
        pool: ThreadPoolExecutor,
        inner: ThreadPoolExecutor | None = None,
    ) -> None:
        """Takes where frames come from, what says that somebody asked to stop, and who works.

        Args:
            plate, keys: where each frame comes from.
            cancelled: set to stop.
            pool: for `submit` and `parallel`.
            inner: for `parallel_within`.
        """
        self._plate, self._keys, self._pool, self._inner = plate, keys, pool, inner
        self.cancelled = cancelled
        self._last = threading.local()

    def plate(self, frame: int, use: Callable[[Plate], T]) -> T:
        """What is made of a plate frame."""
        return self._read(self._plate, frame, use)

    def key(self, frame: int, use: Callable[[Plate], T]) -> T:
        """What is made of a key."""
        return self._read(self._keys, frame, use)

    def parallel(self, function: Callable[..., T], items: Iterable[Any]) -> Iterable[T]:
        """Like `map`, side by side, until somebody asks to stop."""
        return self._pool.map(partial(self._unless_cancelled, function), items)

    def parallel_within(self, function: Callable[..., T], items: Iterable[Any]) -> Iterable[T]:
        """Like `parallel`, from within work that was given to `submit` or `parallel`, which would wait for itself."""
        work = partial(self._unless_cancelled, function)
        return map(work, items) if self._inner is None else self._inner.map(work, items)

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Work under way."""
        return self._pool.submit(function)

    def check_cancelled(self) -> None:
        """Raises `Cancelled` where somebody asked to stop."""
        if self.cancelled.is_set():
            raise Cancelled

    def _read(self, source: FrameSource, frame: int, use: Callable[[Plate], T]) -> T:
        self.check_cancelled()
        with telling(frame):
            # what carries a frame and what writes it, one after the other in one thread, read the same plate
            last: tuple[FrameSource, int, Plate] | None = getattr(self._last, "read", None)
            if last is None or last[0] is not source or last[1] != frame:
                with stage("read"):
                    last = self._last.read = source, frame, source.read(frame)
            return use(last[2])

    def _unless_cancelled(self, function: Callable[..., T], item: Any) -> T:
        self.check_cancelled()
        return function(item)
