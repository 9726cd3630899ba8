"""How much memory a render may take, how many frames that allows at once, and giving back what is free."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from stpn.engine.working_size import working_factor
from stpn.plugin.request import RequestError

GIB = 1 << 30

# Libraries, weights and flows. Measured, as the others are, by `python bench/film.py memory`.
_ALWAYS = GIB * 3 // 4
# bytes a pixel: what spans share, two of them where one ends and the next begins
_SHARED = 60
# bytes a pixel of a frame that is under way, at the working size and where there is none
_EACH, _EACH_UNREDUCED = 64, 400


def threads_within(memory: float, threads: int, width: int, height: int) -> int:
    """How many threads, each with a frame of its own, fit into memory.

    Args:
        memory: GiB, as asked for; 0: half of what this machine, or the container around this process, has.
        threads: how many are wanted.
        width, height: of the plate.

    Raises:
        RequestError: not even one fits.
    """
    most = memory * GIB if memory else max(available() // 2, GIB)
    pixels = width * height
    each = pixels * (_EACH if working_factor(height, width) > 1 else _EACH_UNREDUCED)
    fixed = _ALWAYS + pixels * _SHARED
    if memory and most < fixed + each:
        raise RequestError(
            f"--memory {memory:g}: expected {(fixed + each) / GIB:.1f} GiB or more for pictures of {width} x {height}"
        )
    return max(1, min(threads, int((most - fixed) // each)))


def available() -> int:
    """Bytes that this machine has, or that the container around this process allows."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found.append(int(Path(limit).read_text()))
        except (OSError, ValueError):  # there is no container, or it has no limit
            continue
    return min(found)


def return_free_memory() -> None:
    """Gives what is free back to the system.

    glibc keeps freed pictures in heaps that fragment, so that a long shot would take more memory than a short one.
    Elsewhere than on glibc nothing is done.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(0)
