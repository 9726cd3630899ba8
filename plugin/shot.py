"""What is asked for, checked whole before any work starts: plate, keys, interval, frames, color, output."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stpn.ocio.config import ColorError, load_config
from stpn.ocio.exr_attributes import COMPRESSIONS
from stpn.ocio.plate import PlateError, PlateInfo, inspect_plate
from stpn.ocio.sequence import Sequence, SequenceError
from stpn.ocio.spaces import WorkingCurve, working_curve
from stpn.plugin.device import choose_device
from stpn.plugin.footage import Footage, color_part, open_footage, unlike_the_first
from stpn.plugin.keys import Span, frames_of, key_frames, serving, spans
from stpn.plugin.request import DEVICES, KEYS_USED, METHODS, Request, RequestError, first_of, listed

if TYPE_CHECKING:
    from stpn.engine.network import SwitchableTPN


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
    problems = _wrong_options(request)
    try:
        shot = _checked(request)
    except RequestError as error:
        problems.extend(error.problems)
    if problems:
        raise RequestError(*dict.fromkeys(problems))
    return shot


def _wrong_options(request: Request) -> list[str]:
    """What is wrong whatever the files hold."""
    problems = []
    for option, value, known in (
        ("--method", request.method, METHODS),
        ("--keys-used", request.keys_used, KEYS_USED),
        ("--device", request.device, DEVICES),
        ("--compression", request.compression, ("keep", *COMPRESSIONS)),
    ):
        if value not in known:
            problems.append(f"{option}: expected one of {', '.join(known)}, got {value!r}")
    if request.threads < 0:
        problems.append(f"--threads: expected 1 or more, or 0 for all processors, got {request.threads}")
    suffix = Path(request.output).suffix.lower()
    if request.compression != "keep" and suffix != ".exr":
        problems.append(
            f"--compression {request.compression}: expected an output of .exr, got {suffix or 'no extension'}; "
            "leave it out"
        )
    try:
        choose_device(request.device)
    except RequestError as error:
        problems.extend(error.problems)
    return problems


def _checked(request: Request) -> Shot:
    try:
        plate_files, key_files, output = (Sequence(p) for p in (request.plate, request.keys, request.output))
        confidence = Sequence(request.confidence) if request.confidence else None
    except SequenceError as error:
        raise RequestError(str(error)) from error
    plate_on_disk, keys_on_disk = (
        _on_disk(files, what) for files, what in ((plate_files, "plate"), (key_files, "key"))
    )
    frames, keys = _frames(request, plate_files, key_files, plate_on_disk, keys_on_disk)
    needed = _needed(frames, keys, request.keys_used)
    _refuse_missing(needed, plate_on_disk, plate_files, "plate", "; motion needs every frame from a key to its frames")
    threads = request.threads if request.threads > 0 else os.cpu_count() or 1
    inputs = {"--plate": (plate_files, plate_on_disk), "--keys": (key_files, keys_on_disk)}
    _refuse_places(inputs, {"--output": output, "--confidence": confidence}, frames)

    infos = _inspected([plate_files.path(f) for f in needed] + [key_files.path(k) for k in keys], threads)
    plate_infos, key_infos = infos[: len(needed)], infos[len(needed) :]
    try:
        config = load_config(request.ocio)
        plate, why_plate = open_footage(config, plate_files, plate_infos[0], request.colorspace, "--colorspace")
        key, why_keys = open_footage(config, key_files, key_infos[0], request.keys_colorspace, "--keys-colorspace")
        working = working_curve(config, request.working)
        problems = unlike_the_first(plate_infos, plate, request.colorspace, "--colorspace")
        problems += unlike_the_first(key_infos, key, request.keys_colorspace, "--keys-colorspace")
        problems += _differing(plate_infos, key_infos)
        if plate.info.format == "exr" or Path(output.pattern).suffix.lower() != ".exr":
            plate.space.check_encodable()
    except (ColorError, PlateError) as error:
        raise RequestError(str(error)) from error
    if problems:
        raise RequestError(*first_of(problems))
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
    is_key = set(asked)
    around = {frame: serving(frame, asked, request.keys_used) for frame in frames if frame not in is_key}
    in_use = set(frames).union(*around.values())
    used = tuple(key for key in asked if key in in_use)
    # where a chunk is rendered, no more of the plate need be there than that chunk takes
    concerned = asked if wanted is None else used
    outside = [k for k in concerned if not plate_on_disk[0] <= k <= plate_on_disk[-1]]
    if outside:
        raise RequestError(
            f"{keys.pattern}: expected keys within the plate's frames {plate_on_disk[0]}-{plate_on_disk[-1]}, got "
            f"{listed(outside)}; name the keys with --key-frames"
        )
    _refuse_missing(used, keys_on_disk, keys, "key")
    unserved = [frame for frame, keys_there in around.items() if keys_there == (None, None)]
    if unserved:
        raise RequestError(
            f"{keys.pattern}: expected a key before or after every frame (--keys-used {request.keys_used}), "
            f"there is none for {listed(unserved)}; use --keys-used both, or render fewer --frames"
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
        raise RequestError(*first_of(problems))
    return infos


def _refuse_missing(wanted: Iterable[int], found: list[int], files: Sequence, what: str, why: str = "") -> None:
    there = set(found)
    missing = [frame for frame in wanted if frame not in there]
    if missing:
        raise RequestError(
            f"{files.pattern}: expected {what} frames {listed(missing)}, not found; there are {listed(sorted(there))}"
            f"{why}"
        )


def _differing(plates: list[PlateInfo], keys: list[PlateInfo]) -> list[str]:
    """Sizes and windows, of the parts with the color, that are not those of the first plate frame."""
    first = plates[0]
    expected = color_part(first)[1]
    problems = []
    for info in (*plates[1:], *keys):
        part = color_part(info)[1]
        if (part.width, part.height) != (expected.width, expected.height):
            problems.append(
                f"{info.path}: expected {expected.width} x {expected.height} pixels as {first.path.name} has, "
                f"got {part.width} x {part.height}"
            )
        elif info.format == first.format == "exr":
            for name, window, wanted in (
                ("data window", part.data_window, expected.data_window),
                ("display window", part.display_window, expected.display_window),
            ):
                if window != wanted:
                    problems.append(f"{info.path}: expected {name} {wanted} as {first.path.name} has, got {window}")
    return problems


def _refuse_places(
    inputs: dict[str, tuple[Sequence, list[int]]], outputs: dict[str, Sequence | None], frames: Iterable[int]
) -> None:
    """Results must go where no input and no other result lies, in a folder that can be written, as a known format."""
    plate = Path(inputs["--plate"][0].pattern)
    problems = []
    taken = {name: option for option, (files, found) in inputs.items() for name in _places(files, found)}
    for option, files in outputs.items():
        if files is None:
            continue
        suffix = Path(files.pattern).suffix.lower()
        if option == "--confidence" and suffix != ".exr":
            problems.append(f"{files.pattern}: expected .exr for the confidence, got {suffix or 'no extension'}")
        elif suffix not in (plate.suffix.lower(), ".exr"):
            problems.append(
                f"{files.pattern}: expected {plate.suffix} as the plate has, or .exr, got {suffix or 'no extension'}"
            )
        places = _places(files, frames)
        there = next((taken[place] for place in places if place in taken), None)
        if there is not None:
            problems.append(f"{option} {files.pattern}: expected a place of its own, got that of {there}")
        taken.update(dict.fromkeys(places, option))
        folder = Path(files.pattern).parent
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            problems.append(f"{option} {files.pattern}: expected a folder that can be written, {folder} cannot")
    if problems:
        raise RequestError(*problems)


def _places(files: Sequence, frames: Iterable[int]) -> list[str]:
    """The pattern and the files of frames by their true folder, so that any two ways to name one place are the same."""
    folder = os.path.realpath(Path(files.pattern).parent)
    paths = (Path(files.pattern), *map(files.path, frames))
    return [os.path.join(folder, path.name) for path in paths]


def _network(method: str) -> SwitchableTPN | None:
    if method != "stpn":
        return None
    from stpn.engine.weights import WeightsError, load_network, shipped

    try:
        return load_network(shipped("color"))
    except WeightsError as error:
        raise RequestError(str(error)) from error
