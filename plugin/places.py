"""Where results go: a place of their own, in a folder that can be written, as a known format."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from stpn.ocio.sequence import Sequence
from stpn.plugin.request import RequestError

# what file systems allow
_LONGEST_NAME = 255


def refuse_places(
    inputs: Mapping[str, tuple[Sequence, list[int]]],
    outputs: Mapping[str, Sequence | None],
    frames: Iterable[int],
    wrong_output: str | None,
) -> None:
    """Results must go where no input and no other result lies.

    Args:
        inputs: files and frames there are, by option.
        outputs: files by option; None: not written.
        frames: what will be written.
        wrong_output: what is expected of the extension of --output, where it is another one.

    Raises:
        RequestError: what is wrong with each.
    """
    problems = []
    taken = {name: option for option, (files, found) in inputs.items() for name in _places(files, found)}
    for option, files in outputs.items():
        if files is None:
            continue
        suffix = Path(files.pattern).suffix.lower()
        if option == "--confidence" and suffix != ".exr":
            problems.append(f"{files.pattern}: expected .exr for the confidence, got {suffix or 'no extension'}")
        elif option == "--output" and wrong_output is not None:
            problems.append(f"{files.pattern}: {wrong_output}, got {suffix or 'no extension'}")
        places = _places(files, frames)
        there = next((taken[place] for place in places if place in taken), None)
        if there is not None:
            problems.append(f"{option} {files.pattern}: expected a place of its own, got that of {there}")
        taken.update(dict.fromkeys(places, option))
        problems += _obstacles(option, files, frames, inputs if there is None else {})
        folder = existing_folder(Path(files.pattern))
        if not writable(folder):
            problems.append(f"{option} {files.pattern}: expected a folder that can be written, {folder} cannot")
    if problems:
        raise RequestError(*problems)


def existing_folder(path: Path) -> Path:
    """The nearest thing above a path that is there: a folder, or what stands in the way of one, such as a dangling
    link."""
    folder = path.parent
    while not os.path.lexists(folder):
        folder = folder.parent
    return folder


def writable(folder: Path) -> bool:
    """Whether files can be made in a folder."""
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _obstacles(
    option: str, files: Sequence, frames: Iterable[int], inputs: Mapping[str, tuple[Sequence, list[int]]]
) -> list[str]:
    """What is wrong with things that lie where results go: the first of each kind."""
    found: dict[str, str] = {}
    there: dict[tuple[int, int], Path] = {}
    for path in map(files.path, frames):
        if len(os.fsencode(path.name)) > _LONGEST_NAME:
            found.setdefault("name", f"expected a name of up to {_LONGEST_NAME} bytes, got {path.name}")
            continue
        try:
            state = path.stat()
        except OSError:
            continue  # nothing is there, or a link to nothing, which a result takes the place of
        if not stat.S_ISREG(state.st_mode):
            kind = "a folder" if stat.S_ISDIR(state.st_mode) else "something that is no file"
            found.setdefault(kind, f"expected a file or nothing at {path}, found {kind}; move it away")
        there[(state.st_dev, state.st_ino)] = path
    # one file by two names: a link, or a file system to which large and small letters are the same
    for role, (sources, on_disk) in inputs.items() if there else ():
        for source in map(sources.path, on_disk):
            try:
                state = source.stat()
            except OSError:
                continue
            same = there.get((state.st_dev, state.st_ino))
            if same is not None:
                found.setdefault("same", f"expected a place of its own, {same} is {source} of {role} by another name")
    return [f"{option} {files.pattern}: {problem}" for problem in found.values()]


def _places(files: Sequence, frames: Iterable[int]) -> list[str]:
    """The pattern and the files of frames by their true folder, so that any two ways to name one place are the same."""
    folder = os.path.realpath(Path(files.pattern).parent)
    paths = (Path(files.pattern), *map(files.path, frames))
    return [os.path.join(folder, path.name) for path in paths]
