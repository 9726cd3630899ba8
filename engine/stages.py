"""Where time goes: work names its stage, and whoever wants to know adds up wall time and processor time by name."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Stage:
    """What one stage took, all threads together, stages within it left out.

    Attributes:
        calls: how often it was begun.
        wall: seconds by the clock.
        cpu: seconds of the processor, of the threads that were in it; what a library's own threads do is not in it.
    """

    calls: int = 0
    wall: float = 0.0
    cpu: float = 0.0


@dataclass
class Stages:
    """Stages by name, in the order in which they were first begun."""

    by_name: dict[str, Stage] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, wall: float, cpu: float) -> None:
        """Adds one run of a stage."""
        with self._lock:
            found = self.by_name.setdefault(name, Stage())
            found.calls += 1
            found.wall += wall
            found.cpu += cpu


_listening: Stages | None = None
_thread = threading.local()


@contextmanager
def listened() -> Iterator[Stages]:
    """Adds up the stages of all threads while the block runs."""
    global _listening
    before, _listening = _listening, Stages()
    try:
        yield _listening
    finally:
        _listening = before


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Names what the block does; costs next to nothing where nobody listens."""
    listening = _listening
    if listening is None:
        yield
        return
    around = getattr(_thread, "within", None)
    mine = _thread.within = [0.0, 0.0]
    wall, cpu = time.perf_counter(), time.thread_time()
    try:
        yield
    finally:
        wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
        _thread.within = around
        listening.add(name, wall - mine[0], cpu - mine[1])
        if around is not None:
            around[0] += wall
            around[1] += cpu
