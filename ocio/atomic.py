"""Files that are either whole or not there: written beside their place, flushed, then renamed into it."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

_counter = itertools.count()


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder, and rename it to `path` once the block is through.

    The temporary name is hidden, keeps the extension (writers choose the format by it) and is unique to process and
    thread. Whatever ends the block early, an interruption from the keyboard included, removes the temporary file and
    leaves a former file at `path` as it was.

    Raises:
        OSError: The folder cannot be written to, or the disk is full.
    """
    # A long name is cut, because what is added to it must fit into the 255 bytes that file systems allow.
    name = f".{path.stem[:40]}.{os.getpid()}-{threading.get_native_id()}-{next(_counter)}.partial{path.suffix}"
    temporary = path.with_name(name)
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    # The new name itself must reach the disk; file systems that cannot open or flush a folder have nothing to flush.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
