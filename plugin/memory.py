"""How the process asks the system for memory."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3  # of malloc.h
_LARGE = 512 * 1024


def return_large_blocks() -> None:
    """Makes glibc give pictures back to the system as soon as they are freed.

    Left alone it raises the size from which it does so to the largest block it has seen freed; pictures then lie in
    heaps that fragment, and a long shot takes more memory than a short one. Elsewhere than on glibc nothing is done.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGE)
