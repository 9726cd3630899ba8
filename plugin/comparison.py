"""Two sequences to be compared: what is asked for, checked whole before any work starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stpn.ocio.config import ColorError, Config, load_config
from stpn.ocio.plate import PlateError, PlateInfo
from stpn.plugin.comparison_files import (
    inspected,
    measured_frames,
    on_disk,
    output_path,
    refuse_differing,
    sequence,
    shown_frames,
)
from stpn.plugin.display import Display, Rec709
from stpn.plugin.footage import Footage, open_footage, refuse_other_channels
from stpn.plugin.layers import Layers, asked_channels, open_layers
from stpn.plugin.mattes import Mattes, open_mattes
from stpn.plugin.pictures import Confidences, Pictures, confidence_channel
from stpn.plugin.request import RequestError

PROPERTIES = ("color", "hdr", "mask", "channels")
MAXIMUM_ROWS = 60
CLIPPED_AT = 254 / 255
"""Of what an integer plate can hold."""

_AMPLIFY = {"color": 8.0, "hdr": 2.0, "channels": 8.0}
# what an option is for, where it is not for all
_ONLY = {
    "bracket": ("hdr",), "clipped_at": ("hdr",), "channels": ("mask", "channels"), "range": ("channels",),
    "mask_labels": ("mask",),
    "amplify": tuple(_AMPLIFY),
}  # fmt: skip
_MOST_STOPS = 30


@dataclass(frozen=True)
class CompareRequest:
    """A comparison as asked for; see `stpn compare --help` for each.

    Attributes:
        plate, result: patterns of numbered files.
        output: the picture to write.
        property: one of `PROPERTIES`.
        keys, confidence, reference: patterns; None: not given.
        frames: frame range of the rows; None: some are chosen.
        colorspace: a space of the config, or auto: of all that no other option is given for.
        result_colorspace, keys_colorspace, reference_colorspace: None: as `colorspace`.
        ocio: a config; None: $OCIO, else the built-in one.
        display, view: both None: plain sRGB; for hdr the config's default.
        bracket: stops such as -4,-2,0,2; None: one exposure.
        clipped_at: code value 0..1 from which the plate counts as clipped; None: `CLIPPED_AT` for integers.
        channels: names, NAME,NAME; None: found in the files.
        mask_labels: whether pictures hold object numbers in place of mattes; if not, it is told from them.
        range: LOW,HIGH of the false colors; None: of what is shown.
        amplify: factor of the difference picture; None: as the property has it.
        threads: how many at most.
    """

    plate: str
    result: str
    output: str = "compare.png"
    property: str = "color"
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
    bracket: str | None = None
    clipped_at: float | None = None
    channels: str | None = None
    mask_labels: bool = False
    range: str | None = None
    amplify: float | None = None
    threads: int = 4


@dataclass(frozen=True)
class Comparison:
    """A request that was found right, with everything that the work needs.

    Attributes:
        request: as asked.
        pictures: the sequences of light, by role: the plate; for color and hdr all others too.
        layers: for channels the others, by role.
        mattes: the same for mask.
        confidence: None where not given.
        output: the picture to write.
        rows: frames of the contact sheet, ascending.
        measured: frames that result and reference share, ascending; empty without a reference.
        unmeasured: frames of the reference that the result lacks.
        first: what the first picture looked at holds; all others have its size.
        display: how pictures are shown.
        rec709: the way to the light that differences are measured in.
        config: where colors are looked up.
        decisions: what was decided and why, one line each, for people.
        amplify: factor of the difference picture.
        stops: exposures that hdr is shown at, as typed; empty: one, as it is.
        range: ends of the scale of false colors; None: those of what is shown.
    """

    request: CompareRequest
    pictures: Mapping[str, Pictures]
    layers: Mapping[str, Layers]
    mattes: Mapping[str, Mattes]
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
    amplify: float = 1.0
    stops: tuple[float, ...] = field(default=())
    range: tuple[float, float] | None = None

    @property
    def plate(self) -> Pictures:
        """What the result was made of."""
        return self.pictures["plate"]

    @property
    def result(self) -> Pictures:
        """What is looked at; for color and hdr."""
        return self.pictures["result"]

    @property
    def keys(self) -> Pictures | None:
        """The keys; for color and hdr."""
        return self.pictures.get("keys")

    @property
    def reference(self) -> Pictures | None:
        """What the result should be; for color and hdr."""
        return self.pictures.get("reference")

    @property
    def key_frames(self) -> frozenset[int]:
        """Frames that a key file is there for."""
        keys = self.pictures.get("keys") or self.layers.get("keys") or self.mattes.get("keys")
        return keys.frames if keys is not None else frozenset()


def check(request: CompareRequest) -> Comparison:
    """Makes every check that can be made before work starts; writes nothing.

    Raises:
        RequestError: what is wrong.
    """
    amplify, stops, ends = _wrong_options(request)
    patterns = {
        "plate": request.plate, "result": request.result, "keys": request.keys, "reference": request.reference,
        "confidence": request.confidence,
    }  # fmt: skip
    files = {role: sequence(pattern) for role, pattern in patterns.items() if pattern is not None}
    there = {role: on_disk(found, role) for role, found in files.items()}
    # of a bracket each frame has a strip for every sequence
    strips = len(files.keys() - {"confidence"}) if stops else 1
    rows = shown_frames(request.frames, files, there, MAXIMUM_ROWS // strips)
    measured, unmeasured = measured_frames(files, there)
    output = output_path(request.output, files, there)

    looked_at = {role: sorted((set(rows) | set(measured)) & set(there[role])) for role in files}
    # the plate says which pixels are clipped, so hdr is measured with it
    for role in {"plate", "keys", "confidence"} & set(files):
        wanted = {*rows, *measured} if request.property == "hdr" and role == "plate" else set(rows)
        # at least one, because it is the first that says how the color of all is read
        looked_at[role] = sorted(wanted & set(there[role])) or there[role][:1]
    infos = inspected(files, looked_at, request.threads, _refuse_no_confidence)
    refuse_differing(infos)
    try:
        config = load_config(request.ocio)
        pictures: dict[str, Pictures] = {}
        layers: dict[str, Layers] = {}
        mattes: dict[str, Mattes] = {}
        decisions = [f"config: {config.origin}"]
        asked = asked_channels(request.channels)
        others = {role: files[role] for role in files.keys() - {"plate", "confidence"}}
        if request.property == "mask":
            mattes = open_mattes(others, infos, there, looked_at, asked, numbered=request.mask_labels)
        elif request.property == "channels":
            layers = open_layers(others, infos, there, asked, single=True)
        for role, found in files.items():
            if role == "confidence" or role in layers or role in mattes:
                continue
            space, option = _asked_space(request, role)
            footage, why = open_footage(config, found, infos[role][0], space, option)
            refuse_other_channels(infos[role], footage)
            if request.property == "hdr" and role != "plate":
                _refuse_integers(footage)
            pictures[role] = Pictures(role, footage, frozenset(there[role]))
            decisions.append(f"{role}: {why}")
        decisions += [f"{role}: channel {', '.join(found.channels)}" for role, found in sorted(layers.items())]
        if mattes:
            decisions.append(f"objects: {', '.join(mattes['result'].objects)}")
        display = Display(config, display=request.display, view=request.view, plain=request.property != "hdr")
    except (ColorError, PlateError) as error:
        raise RequestError(str(error)) from error
    decisions.append(f"shown as: {display.caption}")
    confidence = None
    if "confidence" in files:
        confidence = Confidences(files["confidence"], frozenset(there["confidence"]))
    return Comparison(
        request, pictures, layers, mattes, confidence, output, rows, measured, unmeasured, infos["plate"][0], display,
        Rec709(config), config, tuple(decisions), amplify, stops, ends,
    )  # fmt: skip


def _wrong_options(request: CompareRequest) -> tuple[float, tuple[float, ...], tuple[float, float] | None]:
    """Factor, stops and ends of the scale, as typed or by default.

    Raises:
        RequestError: an option is wrong whatever the files hold.
    """
    prop = request.property
    if prop not in PROPERTIES:
        raise RequestError(f"--property: expected one of {', '.join(PROPERTIES)}, got {prop!r}")
    for name, properties in _ONLY.items():
        if getattr(request, name) not in (None, False) and prop not in properties:
            option = f"--{name.replace('_', '-')}"
            raise RequestError(f"{option}: expected none with --property {prop}, it is for {' and '.join(properties)}")
    amplify = _AMPLIFY.get(prop, 1.0) if request.amplify is None else request.amplify
    if not (math.isfinite(amplify) and amplify > 0):
        raise RequestError(f"--amplify: expected a factor above 0, got {amplify:g}")
    if request.clipped_at is not None and not (math.isfinite(request.clipped_at) and request.clipped_at > 0):
        raise RequestError(f"--clipped-at: expected a code value above 0, got {request.clipped_at:g}")
    if request.threads < 1:
        raise RequestError(f"--threads: expected 1 or more, got {request.threads}")
    stops = _numbers(request.bracket, "--bracket", "stops such as -4,-2,0,2")
    if stops is not None and (not stops or len(set(stops)) < len(stops) or max(map(abs, stops)) > _MOST_STOPS):
        raise RequestError(
            f"--bracket {request.bracket}: expected stops from {-_MOST_STOPS} to {_MOST_STOPS}, each once, such as "
            "-4,-2,0,2"
        )
    ends = _numbers(request.range, "--range", "LOW,HIGH")
    if ends is not None and (len(ends) != 2 or not ends[0] < ends[1]):
        raise RequestError(f"--range {request.range}: expected LOW,HIGH, the first below the second")
    return amplify, stops or (), (ends[0], ends[1]) if ends else None


def _numbers(text: str | None, option: str, expected: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        found = tuple(float(item) for item in text.split(","))
    except ValueError:
        found = (math.nan,)
    if not all(map(math.isfinite, found)):
        raise RequestError(f"{option} {text}: expected {expected}")
    return found


def _refuse_no_confidence(role: str, info: PlateInfo) -> None:
    if role == "confidence":
        confidence_channel(info)


def _refuse_integers(footage: Footage) -> None:
    if footage.pixel_type not in ("half", "float"):
        raise PlateError(
            f"{footage.info.path}: expected scene-linear half or float pixels for --property hdr, found "
            f"{footage.pixel_type}; give EXR files"
        )


def _asked_space(request: CompareRequest, role: str) -> tuple[str, str]:
    """The space asked for a sequence, and the option that says so."""
    own: str | None = getattr(request, f"{role}_colorspace", None)
    return (own, f"--{role}-colorspace") if own is not None else (request.colorspace, "--colorspace")
