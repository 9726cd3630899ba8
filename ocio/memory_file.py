"""Files that a library writes to memory first, because it does not tell when the disk is full."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def through_memory(path: Path, change: Callable[[bytes], bytes]) -> Iterator[Path]:
    """Give a place in memory to write a file to, and copy it to `path` once the block is through, as `change` gives it.

    Where a disk is full, OpenImageIO says of a PNG that all is well, and libjpeg ends the whole process. Where the
    system has no such places, `path` itself is given; whoever writes there should read it back.

    Raises:
        OSError: `path` cannot be written.
    """
    if not hasattr(os, "memfd_create"):
        yield path
        path.write_bytes(change(path.read_bytes()))
        return
    descriptor = os.memfd_create("stpn")
    with os.fdopen(descriptor, "rb") as held:
        yield Path(f"/proc/self/fd/{descriptor}")
        with path.open("xb") as file:
            file.write(change(held.read()))
