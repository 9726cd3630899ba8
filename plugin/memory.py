"""Giving memory back to the system."""

from __future__ import annotations

import ctypes


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
