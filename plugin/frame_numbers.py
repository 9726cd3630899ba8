"""Numbers over frames, whatever is measured: one frame's, their means, and the work of measuring side by side."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from stpn.engine.evaluation.numbers import mean_of_known


@dataclass(frozen=True)
class Metric:
    """What is measured.

    Attributes:
        name: in JSON.
        title: of its column in tables.
        digits: format of its numbers in tables.
        note: what is written beside a row of a sheet, with {} for the number; empty: nothing.
    """

    name: str
    title: str
    digits: str
    note: str


@dataclass(frozen=True)
class FrameNumbers:
    """One frame against its reference.

    Attributes:
        frame: its number.
        values: by the name of the metric; None where there is nothing to measure.
        broken: pixels of the result or the reference that are no finite numbers.
        is_key: whether a key was given for this frame; such frames are left out of means.
    """

    frame: int
    values: Mapping[str, float | None]
    broken: int
    is_key: bool


def counted(numbers: Sequence[FrameNumbers]) -> Sequence[FrameNumbers]:
    """The frames that means are of: those that are no keys; all where all are keys."""
    return [one for one in numbers if not one.is_key] or numbers


def mean(numbers: Sequence[FrameNumbers], metric: Metric) -> float | None:
    """The mean over the frames that count; None where none has the number."""
    return mean_of_known(one.values[metric.name] for one in counted(numbers))


def measured(
    frames: Sequence[int],
    keys: frozenset[int],
    measure: Callable[[int], tuple[Mapping[str, float | None], int]],
    threads: int,
) -> Generator[FrameNumbers, None, None]:
    """Numbers frame by frame, in order; as many frames are in memory as there are threads.

    Args:
        frames: which.
        keys: key frames.
        measure: gives the values of a frame, and how many of its pixels are broken.
        threads: how many at most.

    Raises:
        PlateError: a file cannot be read.
    """

    def one(frame: int) -> FrameNumbers:
        values, broken = measure(frame)
        return FrameNumbers(frame, values, broken, frame in keys)

    pool = ThreadPoolExecutor(threads, thread_name_prefix="stpn-compare")
    try:
        yield from pool.map(one, frames)
    finally:
        pool.shutdown(cancel_futures=True)
