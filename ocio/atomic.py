"""Files that are either whole or not there: written beside their place, flushed, then renamed into it."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from stpn.ocio.this_process import alive, this_process

_counter = itertools.count()
_unfinished: set[Path] = set()

# What is added to a name must fit, with it, into the 255 bytes that file systems allow.
_LONGEST_STEM = 150
_TEMPORARY = re.compile(
    r"\.(?P<stem>.*)\.(?P<process>[0-9a-f]{12}-\d+-\d+)-\d+\.partial(?P<suffix>\.[^.]*)?", re.DOTALL
)
_ABANDONED = 7 * 24 * 3600.0

_ADVICE = {
    errno.ENOSPC: "free some space, then run again",
    errno.EDQUOT: "free some space or have the quota raised, then run again",
    errno.EFBIG: "the limit of a file's size is too low (ulimit -f)",
    errno.EROFS: "the file system is read-only; mount it for writing, or name another folder",
    errno.EACCES: "change the permissions of the folder, or name another one",
    errno.EPERM: "change the permissions of the folder, or name another one",
    errno.ESTALE: "the server no longer knows the folder; check the mount, then run again",
    errno.ENOENT: "the folder is not there, or was removed meanwhile; make it, then run again",
    errno.EIO: "the disk or the server fails; check it, then run again",
    errno.ENAMETOOLONG: "give a shorter name",
}


def what_to_do(error: OSError) -> str:
    """What helps against an error of the file system, to be put behind it; "" where nothing is known to."""
    advice = _ADVICE.get(error.errno or 0)
    return f"; {advice}" if advice else ""


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder, and rename it to `path` once the block is through.

    The temporary name is hidden, keeps the extension (writers choose the format by it), and names machine, process and
    a number, so that no two writers ever share one and `remove_leftovers` knows whose it is. Whatever ends the block
    early, an interruption from the keyboard included, removes the temporary file and leaves a former file at `path` as
    it was. Who has that open reads on in it.

    Raises:
        OSError: The folder cannot be written to, or the disk is full.
    """
    temporary = path.with_name(f".{_cut(path.stem)}.{this_process()}-{next(_counter)}.partial{path.suffix}")
    _unfinished.add(temporary)
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
    finally:
        _unfinished.discard(temporary)
    _flush_folder(path.parent)


def drop_unfinished() -> None:
    """Remove all files of this process that are still being written: right before it ends without further ado."""
    for temporary in list(_unfinished):
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_leftovers(paths: Iterable[Path]) -> list[Path]:
    """Remove what processes that were killed left of files that they were writing.

    A temporary file is removed where its process ran on this machine and runs no more. One of another machine, of
    which nobody here can tell, is removed where the file server calls it a week older than a file that is written now;
    clocks of this machine do not matter. Live ones stay, whoever's they are.

    Args:
        paths: The files whose leftovers are looked for; they need not be there.

    Returns:
        What was removed.
    """
    stems: dict[Path, set[tuple[str, str]]] = {}
    for path in paths:
        stems.setdefault(path.parent, set()).add((_cut(path.stem), path.suffix))
    return [gone for folder, wanted in stems.items() for gone in _removed(folder, wanted)]


def _removed(folder: Path, wanted: Collection[tuple[str, str]]) -> list[Path]:
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.startswith(".")]
    except OSError:
        return []
    removed = []
    for name in names:
        match = _TEMPORARY.fullmatch(name)
        if match is None or (match["stem"], match["suffix"] or "") not in wanted:
            continue
        lives = alive(match["process"])
        if lives or (lives is None and not _abandoned(folder / name)):
            continue
        with contextlib.suppress(OSError):
            (folder / name).unlink()
            removed.append(folder / name)
    return removed


def _abandoned(path: Path) -> bool:
    """Whether nobody has written to a file for a week, by the clock that gives files their times."""
    probe = path.with_name(f".{this_process()}-{next(_counter)}.now")
    try:
        probe.touch()
        try:
            return probe.stat().st_mtime - path.stat().st_mtime > _ABANDONED
        finally:
            probe.unlink()
    except OSError:
        return False


def _cut(stem: str) -> str:
    return stem.encode("utf-8", "surrogateescape")[:_LONGEST_STEM].decode("utf-8", "ignore")


def _flush_folder(folder: Path) -> None:
    # The new name itself must reach the disk; file systems that cannot open or flush a folder have nothing to flush.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
