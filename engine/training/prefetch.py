"""Batches drawn on background threads while the network trains."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from torch import Tensor

from stpn.engine.training.recipe import Stage

Drawn = tuple[int, Stage, dict[str, Tensor]]


@contextmanager
def prefetched(
    draw: Callable[[Stage, int], dict[str, Tensor]],
    stage_of: Callable[[int], Stage],
    steps: range,
    threads: int,
) -> Iterator[Iterator[Drawn]]:
    """Step, stage and batch of each step, in order, drawn up to `threads + 1` ahead.

    What comes out does not depend on the number of threads, because a batch follows from its step alone. An error of
    `draw` comes out at the step it belongs to. On leaving, what is being drawn is waited for, nothing more is begun.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="batches")
    waiting: deque[tuple[int, Stage, Future[dict[str, Tensor]]]] = deque()

    def batches() -> Iterator[Drawn]:
        to_come = iter(steps)
        while True:
            while len(waiting) <= threads and (step := next(to_come, None)) is not None:
                waiting.append((step, stage_of(step), pool.submit(draw, stage_of(step), step)))
            if not waiting:
                return
            step, stage, future = waiting.popleft()
            yield step, stage, future.result()

    try:
        yield batches()
    finally:
        pool.shutdown(cancel_futures=True)
