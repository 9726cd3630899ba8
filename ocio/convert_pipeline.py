"""Files of a conversion side by side: each reads, transforms and writes for itself, so that all three overlap.

The libraries that decode, transform and encode let other threads run meanwhile, and each uses one thread a file. One
file more than there are threads is under way, because a file that waits for the disk needs no processor.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from stpn.ocio.convert_steps import FilePlan
from stpn.ocio.exr_header import PIXEL_BYTES

Result = TypeVar("Result")

#: A file in memory: as it lies on disk, decoded, converted, encoded, and what libraries take beside.
_COPIES = 3.5
_LEAST_BYTES = 64 << 20
_TYPE_BYTES = {**PIXEL_BYTES, "uint8": 1, "uint16": 2}


class ConvertCancelled(Exception):
    """The conversion was stopped; files that are there are whole."""


def file_bytes(plan: FilePlan) -> int:
    """About how much memory a file takes while it is converted."""
    if plan.info is None:
        return _LEAST_BYTES
    decoded = 0
    for index, part in enumerate(plan.info.parts):
        pixels = part.width * part.height
        if index < len(plan.parts):
            window = plan.parts[index].geometry.data
            pixels = max(pixels, (window[2] - window[0] + 1) * (window[3] - window[1] + 1))
        decoded += pixels * sum(_TYPE_BYTES[channel.pixel_type] for channel in part.channels)
    return max(_LEAST_BYTES, int(decoded * _COPIES))


def free_memory() -> int:
    """Bytes of memory that are free, as the system says; 4 GiB where it does not."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return 4 << 30


def under_way(plans: Sequence[FilePlan], threads: int, memory: float | None) -> int:
    """How many files are worked on at once: one more than threads, as far as memory goes, at least one."""
    budget = free_memory() / 2 if memory is None else memory * (1 << 30)
    largest = max((file_bytes(plan) for plan in plans), default=_LEAST_BYTES)
    return max(1, min(threads + 1, len(plans), int(budget // largest)))


def processors() -> int:
    """How many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


@contextmanager
def library_threads(within: int) -> Iterator[None]:
    """So many threads for one file in the OpenEXR library, one in OpenCV, and then as many as before."""
    import cv2
    import OpenEXR

    before, opencv = OpenEXR.global_thread_count(), cv2.getNumThreads()
    OpenEXR.set_global_thread_count(within)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        OpenEXR.set_global_thread_count(before)
        cv2.setNumThreads(opencv)


def in_order(
    work: Callable[[FilePlan], Result], plans: Sequence[FilePlan], ahead: int, cancelled: threading.Event
) -> Iterator[Result]:
    """Yields results in the order of the plans, `ahead` of them under way.

    Where one fails, what is under way ends first, and the error is raised in its turn.

    Raises:
        ConvertCancelled: The event was set; nothing is under way any more.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(ahead, thread_name_prefix="stpn-convert")
    try:
        for plan in plans:
            if cancelled.is_set():
                raise ConvertCancelled
            waiting.append(pool.submit(work, plan))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        pool.shutdown(cancel_futures=True)
