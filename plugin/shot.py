"""What is asked for, checked whole before any work starts: plate, keys, interval, frames, color, output."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stpn.ocio.attributes import space_from_attributes
from stpn.ocio.config import ColorError, Config, load_config
from stpn.ocio.plate import PartInfo, PlateError, PlateInfo, inspect_plate
from stpn.ocio.sequence import Sequence, SequenceError
from stpn.ocio.spaces import PlateSpace, WorkingCurve, working_curve
from stpn.plugin.device import choose_device
from stpn.plugin.keys import Span, frames_of, key_frames, serving, spans
from stpn.plugin.request import DEVICES, KEYS_USED, METHODS, Request, RequestError

if TYPE_CHECKING:
    from stpn.engine.network import SwitchableTPN

_DTYPES = {"half": "float16", "float": "float32"}
_NAMED = 8  # frames an error names before it says "and N more"


@dataclass(frozen=True)
class Footage:
    """One numbered sequence of pictures and how its color is read.

    Attributes:
        files: where each frame lies.
        part: the part that holds the color.
        channels: names of its color channels: R, G, B or Y alone.
        pixel_type: type of the widest of them: half, float, uint8, uint16 ...
        info: what the first frame holds.
        space: the color space.
    """

    files: Sequence
    part: int
    channels: tuple[str, ...]
    pixel_type: str
    info: PlateInfo
    space: PlateSpace


@dataclass(frozen=True)
class Shot:
    """A request that was found right, with everything that rendering needs.

    Attributes:
        request: as asked.
        plate, keys: what goes in.
        output, confidence: where results go; `confidence` None: not written.
        frames: what to render, ascending.
        key_frames: ascending; each has a key file.
        working: the curve of the lightness that is matched.
        device: what the network runs on.
        network: the weights, for the methods that have any.
        threads: how many at most.
        decisions: what was chosen and why, one line each, for people.
    """

    request: Request
    plate: Footage
    keys: Footage
    output: Sequence
    confidence: Sequence | None
    frames: tuple[int, ...]
    key_frames: tuple[int, ...]
    working: WorkingCurve
    device: str
    network: SwitchableTPN | None
    threads: int
    decisions: tuple[str, ...] = field(default=())

    @property
    def output_format(self) -> str:
        """The format of the results: the plate's own, or exr."""
        return "exr" if Path(self.output.pattern).suffix.lower() == ".exr" else self.plate.info.format

    @property
    def writes_linear(self) -> bool:
        """Whether a plate that is no EXR goes to EXR, which then holds scene-linear light in the plate's primaries."""
        return self.output_format == "exr" != self.plate.info.format

    def spans(self) -> list[Span]:
        """The frames to carry to, grouped by the keys that serve them."""
        return list(spans(self.frames, self.key_frames, self.request.keys_used))


def check(request: Request) -> Shot:
    """Makes every check that can be made before work starts; writes nothing.

    Raises:
        RequestError: what is wrong, all of it that can be told at once.
    """
    for option, value, known in (
        ("--method", request.method, METHODS),
        ("--keys-used", request.keys_used, KEYS_USED),
        ("--device", request.device, DEVICES),
    ):
        if value not in known:
            raise RequestError(f"{option}: expected one of {', '.join(known)}, got {value!r}")
    try:
        plate_files, key_files, output = (Sequence(p) for p in (request.plate, request.keys, request.output))
        confidence = Sequence(request.confidence) if request.confidence else None
    except SequenceError as error:
        raise RequestError(str(error)) from error
    plate_on_disk, keys_on_disk = (_on_disk(files, what) for files, what in ((plate_files, "plate"), (key_files, "key")))
    frames, keys = _frames(request, plate_files, key_files, plate_on_disk, keys_on_disk)
    needed = _needed(frames, keys, request.keys_used)
    _refuse_missing(needed, plate_on_disk, plate_files, "plate")
    threads = request.threads or os.cpu_count() or 1

    infos = _inspected([plate_files.path(f) for f in needed] + [key_files.path(k) for k in keys], threads)
    plate_infos, key_infos = infos[: len(needed)], infos[len(needed) :]
    _refuse_differing(plate_infos, key_infos)
    try:
        config = load_config(request.ocio)
        plate, why_plate = _footage(config, plate_files, plate_infos[0], request.colorspace, "--colorspace")
        key, why_keys = _footage(config, key_files, key_infos[0], request.keys_colorspace, "--keys-colorspace")
        working = working_curve(config, request.working)
        for infos_of, footage in ((plate_infos, plate), (key_infos, key)):
            _refuse_other_channels(infos_of, footage)
        if plate.info.format == "exr" or Path(output.pattern).suffix.lower() != ".exr":
            plate.space.check_encodable()
    except (ColorError, PlateError) as error:
        raise RequestError(str(error)) from error
    _refuse_unwritable(output, confidence, plate, key)
    device, why_device = choose_device(request.device)
    network = _network(request.method)
    return Shot(
        request, plate, key, output, confidence, frames, keys, working, device, network, threads,
        (f"config: {config.origin}", f"plate: {why_plate}", f"keys: {why_keys}", f"device: {why_device}"),
    )  # fmt: skip


def _on_disk(files: Sequence, what: str) -> list[int]:
    found = files.frames()
    if not found:
        like = files.closest_pattern()
        hint = f"did you mean {like}?" if like else "give the pattern of files that exist"
        raise RequestError(f"{files.pattern}: expected {what} frames, found none; {hint}")
    return found


def _frames(
    request: Request, plate: Sequence, keys: Sequence, plate_on_disk: list[int], keys_on_disk: list[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The frames to render and the key frames, each on disk and each in reach."""
    wanted = frames_of(request.frames, "--frames") if request.frames is not None else None
    frames = wanted if wanted is not None else tuple(range(plate_on_disk[0], plate_on_disk[-1] + 1))
    _refuse_missing(frames, plate_on_disk, plate, "plate")
    asked = key_frames(request, plate_on_disk, keys_on_disk)
    outside = [k for k in asked if not plate_on_disk[0] <= k <= plate_on_disk[-1]]
    if outside:
        raise RequestError(
            f"{keys.pattern}: expected keys within the plate's frames {plate_on_disk[0]}-{plate_on_disk[-1]}, got "
            f"{_listed(outside)}; name the keys with --key-frames"
        )
    around = {key for frame in frames if frame not in asked for key in serving(frame, asked, request.keys_used) if key is not None}
    used = tuple(k for k in asked if k in around or k in set(frames))
    _refuse_missing(used, keys_on_disk, keys, "key")
    unserved = [f for f in frames if f not in used and serving(f, asked, request.keys_used) == (None, None)]
    if unserved:
        raise RequestError(
            f"{keys.pattern}: expected a {'' if request.keys_used == 'both' else request.keys_used + ' '}key in reach of every "
            f"frame, there is none for {_listed(unserved)}; use --keys-used both, or render fewer --frames"
        )
    return frames, used


def _needed(frames: Iterable[int], keys: tuple[int, ...], used: str) -> list[int]:
    """Every plate frame that is looked at: the frames themselves and, for motion, those between them and their keys."""
    needed = set(frames)
    for span in spans(sorted(needed), keys, used):
        needed.update(span.reach)
    return sorted(needed)


def _inspected(paths: list[Path], threads: int) -> list[PlateInfo]:
    problems, infos = [], []

    def inspect(path: Path) -> PlateInfo | str:
        try:
            return inspect_plate(path)
        except PlateError as error:
            return str(error)

    with ThreadPoolExecutor(threads) as pool:
        for found in pool.map(inspect, paths):
            if isinstance(found, str):
                problems.append(found)
            else:
                infos.append(found)
    if problems:
        raise RequestError(*_first_of(problems))
    return infos


def _refuse_missing(wanted: Iterable[int], found: list[int], files: Sequence, what: str) -> None:
    there = set(found)
    missing = [frame for frame in wanted if frame not in there]
    if missing:
        raise RequestError(
            f"{files.pattern}: expected {what} frames {_listed(missing)}, not found; "
            f"there are {_listed(sorted(there))}"
        )


def _refuse_differing(plates: list[PlateInfo], keys: list[PlateInfo]) -> None:
    """Sizes and windows must be those of the first plate frame."""
    first = plates[0]
    problems = []
    for info in (*plates[1:], *keys):
        if (info.width, info.height) != (first.width, first.height):
            problems.append(
                f"{info.path}: expected {first.width} x {first.height} pixels as {first.path.name} has, "
                f"got {info.width} x {info.height}"
            )
        elif info.format == first.format == "exr":
            for name, window, expected in (
                ("data window", info.parts[0].data_window, first.parts[0].data_window),
                ("display window", info.parts[0].display_window, first.parts[0].display_window),
            ):
                if window != expected:
                    problems.append(f"{info.path}: expected {name} {expected} as {first.path.name} has, got {window}")
    if problems:
        raise RequestError(*_first_of(problems))


def _footage(config: Config, files: Sequence, info: PlateInfo, asked: str, option: str) -> tuple[Footage, str]:
    index, part, channels = _color_part(info)
    types = [c.pixel_type for c in part.channels if c.name in channels]
    if asked == "auto":
        decision = space_from_attributes(
            config, part.attributes, file_format=info.format, pixel_type=types[0] if types else None
        )
        name, why = decision.space, f"{decision.space}, {decision.reason}"
    else:
        name, why = asked, f"{config.space(asked).name}, by {option}"
    widest = max(types, key=lambda name: np.dtype(_DTYPES.get(name, name)).itemsize)
    chromaticities = part.attributes.get("chromaticities")
    own = chromaticities if asked == "auto" and isinstance(chromaticities, tuple) and len(chromaticities) == 8 else None
    return Footage(files, index, channels, widest, info, PlateSpace(config, name, chromaticities=own)), why


def _color_part(info: PlateInfo) -> tuple[int, PartInfo, tuple[str, ...]]:
    """The first part with color, or with luminance alone."""
    for names in (("R", "G", "B"), ("Y",)):
        for index, part in enumerate(info.parts):
            if set(names) <= set(part.channel_names) and "RY" not in part.channel_names:
                return index, part, names
    found = "; ".join(f"part {i}: {', '.join(p.channel_names)}" for i, p in enumerate(info.parts))
    raise PlateError(f"{info.path}: expected channels R, G, B, or Y alone, found {found}")


def _refuse_other_channels(infos: list[PlateInfo], footage: Footage) -> None:
    for info in infos:
        index, _, channels = _color_part(info)
        if (index, channels) != (footage.part, footage.channels):
            raise PlateError(
                f"{info.path}: expected {', '.join(footage.channels)} in part {footage.part} as {footage.info.path.name} "
                f"has, found {', '.join(channels)} in part {index}"
            )


def _refuse_unwritable(output: Sequence, confidence: Sequence | None, plate: Footage, keys: Footage) -> None:
    suffix = Path(output.pattern).suffix.lower()
    if suffix != plate.info.path.suffix.lower() and suffix != ".exr":
        raise RequestError(
            f"{output.pattern}: expected {plate.info.path.suffix} as the plate has, or .exr, got {suffix or 'no extension'}"
        )
    if confidence is not None and Path(confidence.pattern).suffix.lower() != ".exr":
        raise RequestError(f"{confidence.pattern}: expected .exr for the confidence, got {Path(confidence.pattern).suffix}")
    taken = {os.path.abspath(f.files.pattern): name for f, name in ((plate, "--plate"), (keys, "--keys"))}
    for option, files in (("--output", output), ("--confidence", confidence)):
        if files is None:
            continue
        where = os.path.abspath(files.pattern)
        if where in taken:
            raise RequestError(f"{option} {files.pattern}: expected a place of its own, got that of {taken[where]}")
        taken[where] = option
        folder = Path(files.pattern).parent
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise RequestError(f"{option} {files.pattern}: expected a folder that can be written, {folder} cannot")


def _network(method: str) -> SwitchableTPN | None:
    if method != "stpn":
        return None
    from stpn.engine.weights import WeightsError, load_network, shipped

    try:
        return load_network(shipped("color"))
    except WeightsError as error:
        raise RequestError(str(error)) from error


def _first_of(problems: list[str]) -> list[str]:
    more = len(problems) - _NAMED
    return problems[:_NAMED] + ([f"and {more} more like these"] if more > 0 else [])


def _listed(frames: Iterable[int]) -> str:
    """Frames as a short range: 1001-1020, 1025."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    text = [str(a) if a == b else f"{a}-{b}" for a, b in runs]
    return ", ".join(text[:_NAMED]) + (f" and {len(text) - _NAMED} more" if len(text) > _NAMED else "")
