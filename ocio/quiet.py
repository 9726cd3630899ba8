"""Standard output without what a library prints there from inside a call, for the calling thread alone."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

_lock = threading.Lock()


class _Filter:
    """A stream that lets through what other threads write."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.silent_threads: list[int] = []

    def write(self, text: str) -> int:
        if threading.get_ident() in self.silent_threads:
            return len(text)
        return int(self.stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def silent_output() -> Iterator[None]:
    """Drop what this thread prints to standard output; what others print, results for example, goes through."""
    with _lock:
        stream: Any = sys.stdout
        current = stream if isinstance(stream, _Filter) else _Filter(stream)
        sys.stdout = current
        current.silent_threads.append(threading.get_ident())
    try:
        yield
    finally:
        with _lock:
            current.silent_threads.remove(threading.get_ident())
            if not current.silent_threads and sys.stdout is current:
                sys.stdout = current.stream
