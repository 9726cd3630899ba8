"""Two sequences to be compared: what is asked for, checked whole before any work starts."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from stpn.ocio.config import ColorError, Config, load_config
from stpn.ocio.plate import PlateError, PlateInfo, inspect_plate
from stpn.ocio.sequence import Sequence, SequenceError
from stpn.plugin.display import Display, Rec709
from stpn.plugin.footage import open_footage, refuse_other_channels
from stpn.plugin.frame_choice import chosen_frames
from stpn.plugin.keys import frames_of
from stpn.plugin.pictures import Confidences, Pictures, confidence_channel
from stpn.plugin.request import RequestError

MAXIMUM_ROWS = 60
_NAMED = 8  # frames or problems that an error names before it says "and N more"


@dataclass(frozen=True)
class CompareRequest:
    """A comparison as asked for; see `stpn compare --help` for each.

    Attributes:
        plate, result: patterns of numbered files.
        output: the picture to write.
        keys, confidence, reference: patterns; None: not given.
        frames: frame range of the rows; None: some are chosen.
        colorspace: a space of the config, or auto: of all that no other option is given for.
        result_colorspace, keys_colorspace, reference_colorspace: None: as `colorspace`.
        ocio: a config; None: $OCIO, else the built-in one.
        display, view: both None: plain sRGB.
        amplify: factor of the difference picture.
        threads: how many at most.
    """

    plate: str
    result: str
    output: str = "compare.png"
    keys: str | None = None
    confidence: str | None = None
    reference: str | None = None
    frames: str | None = None
    colorspace: str = "auto"
    result_colorspace: str | None = None
    keys_colorspace: str | None = None
    reference_colorspace: str | None = None
    ocio: str | None = None
    display: str | None = None
    view: str | None = None
    amplify: float = 8.0
    threads: int = 4


@dataclass(frozen=True)
class Comparison:
    """A request that was found right, with everything that the work needs.

    Attributes:
        request: as asked.
        plate, result: what is compared.
        keys, reference, confidence: None where not given.
        output: the picture to write.
        rows: frames of the contact sheet, ascending.
        measured: frames that result and reference share, ascending; empty without a reference.
        unmeasured: frames of the reference that the result lacks.
        first: what the first picture looked at holds; all others have its size.
        display: how pictures are shown.
        rec709: the way to the light that differences are measured in.
        config: where colors are looked up.
        decisions: what was decided and why, one line each, for people.
    """

    request: CompareRequest
    plate: Pictures
    result: Pictures
    keys: Pictures | None
    reference: Pictures | None
    confidence: Confidences | None
    output: Path
    rows: tuple[int, ...]
    measured: tuple[int, ...]
    unmeasured: tuple[int, ...]
    first: PlateInfo
    display: Display
    rec709: Rec709
    config: Config
    decisions: tuple[str, ...]

    @property
    def key_frames(self) -> frozenset[int]:
        """Frames that a key file is there for."""
        return self.keys.frames if self.keys is not None else frozenset()


def check(request: CompareRequest) -> Comparison:
    """Makes every check that can be made before work starts; writes nothing.

    Raises:
        RequestError: what is wrong.
    """
    if not (math.isfinite(request.amplify) and request.amplify > 0):
        raise RequestError(f"--amplify: expected a factor above 0, got {request.amplify:g}")
    if request.threads < 1:
        raise RequestError(f"--threads: expected 1 or more, got {request.threads}")
    patterns = {
        "plate": request.plate, "result": request.result, "keys": request.keys, "reference": request.reference,
        "confidence": request.confidence,
    }  # fmt: skip
    files = {role: _sequence(pattern) for role, pattern in patterns.items() if pattern is not None}
    on_disk = {role: _on_disk(sequence, role) for role, sequence in files.items()}
    rows = _rows(request, files, on_disk)
    measured, unmeasured = _measured(files, on_disk)
    output = _output(request.output, files, on_disk)

    looked_at = {role: sorted((set(rows) | set(measured)) & set(on_disk[role])) for role in files}
    for role in {"plate", "keys", "confidence"} & set(files):
        # at least one, because it is the first that says how the color of all is read
        looked_at[role] = sorted(set(rows) & set(on_disk[role])) or on_disk[role][:1]
    infos = _inspected(files, looked_at, request.threads)
    _refuse_differing(infos)
    try:
        config = load_config(request.ocio)
        pictures: dict[str, Pictures] = {}
        decisions = [f"config: {config.origin}"]
        for role, sequence in files.items():
            if role == "confidence":
                continue
            asked, option = _asked_space(request, role)
            footage, why = open_footage(config, sequence, infos[role][0], asked, option)
            refuse_other_channels(infos[role], footage)
            pictures[role] = Pictures(role, footage, frozenset(on_disk[role]))
            decisions.append(f"{role}: {why}")
        display = Display(config, display=request.display, view=request.view)
    except (ColorError, PlateError) as error:
        raise RequestError(str(error)) from error
    decisions.append(f"shown as: {display.caption}")
    confidence = None
    if "confidence" in files:
        confidence = Confidences(files["confidence"], frozenset(on_disk["confidence"]))
    return Comparison(
        request, pictures["plate"], pictures["result"], pictures.get("keys"), pictures.get("reference"), confidence,
        output, rows, measured, unmeasured, infos["plate"][0], display, Rec709(config), config, tuple(decisions),
    )  # fmt: skip


def _sequence(pattern: str) -> Sequence:
    try:
        return Sequence(pattern)
    except SequenceError as error:
        raise RequestError(str(error)) from error


def _on_disk(files: Sequence, role: str) -> list[int]:
    found = files.frames()
    if not found:
        like = files.closest_pattern()
        hint = f"did you mean {like}?" if like else "give the pattern of files that exist"
        what = "key" if role == "keys" else role
        raise RequestError(f"{files.pattern}: expected {what} frames, found none; {hint}")
    return found


def _rows(request: CompareRequest, files: dict[str, Sequence], on_disk: dict[str, list[int]]) -> tuple[int, ...]:
    """The frames of the sheet: as asked, or chosen among those that plate and result share."""
    plate, result = on_disk["plate"], on_disk["result"]
    common = sorted(set(plate) & set(result))
    if not common:
        raise RequestError(
            f"{files['plate'].pattern} and {files['result'].pattern}: expected frames in common, found none: one has "
            f"{_extent(plate)}, the other {_extent(result)}"
        )
    if request.frames is None:
        shared = sorted(set(common) & set(on_disk["reference"])) if "reference" in on_disk else common
        return chosen_frames(shared or common, on_disk.get("keys", []))
    rows = frames_of(request.frames, "--frames")
    for role in ("plate", "result"):
        missing = [frame for frame in rows if frame not in set(on_disk[role])]
        if missing:
            raise RequestError(
                f"{files[role].pattern}: expected frames {_listed(map(str, missing), ', ')}, not found; there are "
                f"{_extent(on_disk[role])}"
            )
    if len(rows) > MAXIMUM_ROWS:
        raise RequestError(
            f"--frames: expected at most {MAXIMUM_ROWS} frames, one a row, got {len(rows)}; give a step: "
            f"{rows[0]}-{rows[-1]}x{-(-(rows[-1] - rows[0] + 1) // MAXIMUM_ROWS)}"
        )
    return rows


def _measured(files: dict[str, Sequence], on_disk: dict[str, list[int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Frames that result and reference share, and those of the reference that the result lacks."""
    if "reference" not in on_disk:
        return (), ()
    result, reference = on_disk["result"], on_disk["reference"]
    shared = tuple(sorted(set(result) & set(reference)))
    if not shared:
        raise RequestError(
            f"{files['reference'].pattern}: expected reference frames of the result's {_extent(result)}, found "
            f"{_extent(reference)}"
        )
    return shared, tuple(sorted(set(reference) - set(result)))


def _output(output: str, files: dict[str, Sequence], on_disk: dict[str, list[int]]) -> Path:
    path = Path(output)
    if path.suffix.lower() != ".png":
        raise RequestError(f"--output {output}: expected a name that ends in .png, got {path.suffix or 'no extension'}")
    if path.is_dir():
        raise RequestError(f"--output {output}: expected a file, found a folder of that name; choose another name")
    real = os.path.realpath(path)
    for role, sequence in files.items():
        if any(os.path.realpath(sequence.path(frame)) == real for frame in on_disk[role]):
            raise RequestError(f"--output {output}: expected a place of its own, got a file of the {role}")
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise RequestError(f"--output {output}: expected a folder that can be written, {folder} cannot")
    return path


def _inspected(files: dict[str, Sequence], frames: dict[str, list[int]], threads: int) -> dict[str, list[PlateInfo]]:
    """What every picture that will be read holds, by role; all of them can be read."""

    def inspect(role: str, path: Path) -> PlateInfo | str:
        try:
            info = inspect_plate(path)
            if role == "confidence":
                confidence_channel(info)
        except PlateError as error:
            return str(error)
        return info

    asked = [(role, sequence.path(frame)) for role, sequence in files.items() for frame in frames[role]]
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(inspect, *zip(*asked, strict=True)))
    problems = [problem for problem in found if isinstance(problem, str)]
    if problems:
        raise RequestError(_listed(problems, "; "))
    infos: dict[str, list[PlateInfo]] = {role: [] for role in files}
    for (role, _), info in zip(asked, found, strict=True):
        assert isinstance(info, PlateInfo)
        infos[role].append(info)
    return infos


def _refuse_differing(infos: dict[str, list[PlateInfo]]) -> None:
    """Sizes, and windows of EXR files, must be those of the first plate frame."""
    first = infos["plate"][0]
    problems = []
    for info in (info for of_role in infos.values() for info in of_role):
        if (info.width, info.height) != (first.width, first.height):
            problems.append(
                f"{info.path}: expected {first.width} x {first.height} pixels as {first.path.name} has, got "
                f"{info.width} x {info.height}"
            )
        elif info.format == first.format == "exr" and info.parts[0].data_window != first.parts[0].data_window:
            problems.append(
                f"{info.path}: expected data window {first.parts[0].data_window} as {first.path.name} has, got "
                f"{info.parts[0].data_window}"
            )
    if problems:
        raise RequestError(*problems[:_NAMED], *([f"and {len(problems) - _NAMED} more"] if problems[_NAMED:] else []))


def _asked_space(request: CompareRequest, role: str) -> tuple[str, str]:
    """The space asked for a sequence, and the option that says so."""
    own: str | None = getattr(request, f"{role}_colorspace", None)
    return (own, f"--{role}-colorspace") if own is not None else (request.colorspace, "--colorspace")


def _listed(items: Iterable[str], separator: str) -> str:
    texts = list(items)
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return separator.join(texts[:_NAMED]) + more


def _extent(frames: list[int]) -> str:
    """Where frames begin and end, and whether there are holes: 1001-1041 (38 frames)."""
    whole = len(frames) == frames[-1] - frames[0] + 1
    return f"{frames[0]}-{frames[-1]}" + ("" if whole else f" ({len(frames)} frames)")
