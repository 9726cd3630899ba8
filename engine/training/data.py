"""Training material: sources found by globs, decoded once into a cache, those kept for measuring left out."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Literal, TypeAlias

import numpy as np

from stpn.engine.training.decoding import (
    PICTURES,
    VIDEOS,
    DecodingError,
    Frames,
    Light,
    decode_clip,
    decode_picture,
    decode_tar,
    numbered_pictures,
    read_exr,
    tar_names,
)
from stpn.engine.training.recipe import DataChoice

__all__ = ["DataError", "DataFolders", "Frames", "Kind"]

Kind: TypeAlias = Literal["clips", "photos"]


class DataError(Exception):
    """There is nothing to train on, or it cannot be told what to leave out; the message says what to do."""


@dataclass(frozen=True)
class _Item:
    """One array of the cache, (T, H, W, 3) of clips or (H, W, 3) of photos, and where it comes from.

    Attributes:
        source: the file or folder.
        member: in a tar file.
    """

    kind: Kind
    name: str
    source: Path
    member: str = ""


@dataclass(frozen=True)
class DataFolders:
    """What a recipe trains on.

    Attributes:
        data: the folder that sources are relative to.
        cache: the folder of decoded arrays: clips/NAME.npy, photos/NAME.npy. An array that is there is taken as it is:
            after changing a source, remove its array.
        choice: which sources.
        warn: is told of sources that are skipped.
    """

    data: Path
    cache: Path
    choice: DataChoice
    warn: Callable[[str], None] = field(default=lambda _: None, compare=False)

    def load(self, kind: Kind) -> list[Frames]:
        """The arrays of `clips` (T, H, W, 3), T >= 2, or `photos` (H, W, 3): uint8 BGR for display, memory-mapped.

        They come in the order of `paths`, which says more.

        Raises:
            DataError: none is left.
        """
        return [np.load(path, mmap_mode="r") for path in self.paths(kind)]

    def load_light(self) -> list[Light]:
        """Scene-linear RGB (H, W, 3) float32 of every EXR picture among the sources, in order of name.

        Raises:
            DataError: there is none that can be read.
        """
        lights = []
        for item in self.items:
            if item.source.suffix.lower() == ".exr":
                try:
                    lights.append(read_exr(item.source))
                except DecodingError as error:
                    self.warn(f"{item.source}: skipped: {error}")
        if not lights:
            sources = ", ".join(self.choice.sources)
            raise DataError(f"no EXR to train on in {self.data}: expected some from {sources}; none is left")
        return lights

    def paths(self, kind: Kind) -> list[Path]:
        """The files of the arrays of a kind, in order of name.

        What the cache lacks is decoded first; a damaged source is skipped with a warning.

        Raises:
            DataError: none is left.
        """
        items = [item for item in self.items if item.kind == kind]
        (self.cache / kind).mkdir(parents=True, exist_ok=True)
        missing: dict[Path, list[_Item]] = {}
        for item in items:
            if not self._path(item).exists():
                missing.setdefault(item.source, []).append(item)
        for source, wanted in missing.items():
            self._decode(source, wanted)
        paths = [self._path(item) for item in items if self._path(item).exists()]
        if not paths:
            sources = ", ".join(self.choice.sources)
            raise DataError(f"no {kind} to train on in {self.data}: expected some from {sources}; none is left")
        return paths

    def _path(self, item: _Item) -> Path:
        return self.cache / item.kind / f"{item.name}.npy"

    @cached_property
    def items(self) -> list[_Item]:
        """What the sources hold without what is excluded, in order of kind and name; nothing is decoded.

        Raises:
            DataError: the data folder or a list of exclusions is missing, or a glob finds nothing.
        """
        if not self.data.is_dir():
            raise DataError(f"{self.data}: expected the folder of training data, found none")
        excluded = self._excluded()
        found: dict[tuple[Kind, str], _Item] = {}
        for pattern in self.choice.sources:
            paths = sorted(self.data.absolute().glob(pattern))
            if not paths:
                raise DataError(f"{self.data}: expected sources {pattern}, found none")
            for path in paths:
                if not _matches(path, excluded):
                    for item in self._items_of(path):
                        if not item.member or not _matches(path / item.member, excluded):
                            found.setdefault((item.kind, item.name), item)
        return [found[key] for key in sorted(found)]

    def provenance(self) -> dict[str, str]:
        """What is trained on, in words and as a digest of all names, for the metadata of weights."""
        count = {kind: sum(item.kind == kind for item in self.items) for kind in ("clips", "photos")}
        names = "\n".join(f"{item.kind}/{item.name}" for item in self.items)
        digest = hashlib.sha256(names.encode()).hexdigest()[:12]
        return {"sources": f"{count['clips']} clips, {count['photos']} photos, names {digest}"}

    def _excluded(self) -> list[str]:
        excluded = list(self.choice.exclude)
        for pattern in excluded:
            # a misspelt name would let what is kept for measuring in
            if not any(self.data.glob(pattern)):
                self.warn(f"exclude: {pattern} is not in {self.data}")
        for name in self.choice.exclude_lists:
            path = self.data / name
            try:
                lists = json.loads(path.read_text(encoding="utf-8"))
                excluded += [
                    each for names in (lists.values() if isinstance(lists, dict) else [lists]) for each in names
                ]
            except (OSError, ValueError, TypeError, RecursionError) as error:
                raise DataError(f"exclude_lists: expected JSON lists of sources in {path}, got: {error}") from error
        if not all(isinstance(pattern, str) and pattern for pattern in excluded):
            raise DataError(
                f"exclude_lists: expected names in {', '.join(self.choice.exclude_lists)}, got other things"
            )
        return excluded

    def _items_of(self, path: Path) -> Iterator[_Item]:
        suffix = path.suffix.lower()
        if suffix in VIDEOS or (path.is_dir() and numbered_pictures(path)):
            yield _Item("clips", self._name(path), path)
        elif suffix == ".tar":
            try:
                for member in tar_names(path):
                    yield _Item("photos", self._name(path.with_name(PurePath(member).name)), path, member)
            except DecodingError as error:
                self.warn(f"{path}: skipped: {error}")
        elif suffix in PICTURES:
            yield _Item("photos", self._name(path), path)
        else:
            self.warn(f"{path}: skipped: expected a video, a folder of numbered pictures, a tar file or a picture")

    def _name(self, path: Path) -> str:
        """`vide_ocean` of clips/vide_ocean.mp4, `hdr__photos__Desk` of hdr/photos/Desk.exr: a name for each source."""
        parts = path.relative_to(self.data.absolute()).parts
        if parts[0] in ("clips", "photos") and len(parts) == 2:
            parts = parts[1:]
        stem = parts[-1] if path.is_dir() else PurePath(parts[-1]).stem
        return "__".join([*parts[:-1], stem])

    def _decode(self, source: Path, wanted: list[_Item]) -> None:
        """Decodes the arrays that are wanted of a source, which are several of a tar file only."""
        try:
            if wanted[0].kind == "clips":
                _store(self._path(wanted[0]), decode_clip(source))
            elif not wanted[0].member:
                _store(self._path(wanted[0]), decode_picture(source))
            else:
                items = {item.member: item for item in wanted}
                for member, picture in decode_tar(source, set(items)):
                    if isinstance(picture, DecodingError):
                        self.warn(f"{source}: {member}: skipped: {picture}")
                    else:
                        _store(self._path(items[member]), picture)
        except (DecodingError, OSError) as error:
            self.warn(f"{source}: skipped: {error}")


def _matches(path: Path, patterns: Iterable[str]) -> bool:
    """Whether a pattern is the end of the path, or of a folder that it lies in: `clips/bikes_a.mp4` leaves that file
    out also where the data folder is given as DATA/clips."""
    return any(each.match(pattern) for each in (path, *path.parents) for pattern in patterns)


def _store(path: Path, array: Frames) -> None:
    """Writes beside and renames: an array is there whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.save(file, array)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
