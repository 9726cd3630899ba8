"""What each property takes: methods, options, formats; all that can be refused before a file is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path

from stpn.plugin.request import CHANNEL_CURVES, MASK_OUTPUTS, METHODS, Request


@dataclass(frozen=True)
class Kind:
    """A property as `stpn propagate` takes it.

    Attributes:
        methods: those it has, the default first.
        no_method: why it has not the others, by name.
        options: those of `_SPECIAL` that it takes.
        no_option: why it has not some of the others, by name.
        formats: extensions of results, beside .exr: those of these that `formats_like` has too.
        formats_like: which input decides: plate, keys; "": none, results are EXR.
        formats_why: what is said where a result is of another one.
    """

    methods: tuple[str, ...]
    options: frozenset[str]
    no_method: Mapping[str, str] = field(default_factory=dict)
    no_option: Mapping[str, str] = field(default_factory=dict)
    formats: frozenset[str] | None = None
    formats_like: str = ""
    formats_why: str = ""


# options that not every property takes
_SPECIAL = (
    "colorspace", "keys_colorspace", "working", "channels", "channels_curve", "mask_labels", "mask_output", "ldr_curve",
    "hdr_colorspace", "weights", "adapt",
)  # fmt: skip
_NUMBERS = "there is no network for channels: those that there are have learned color, radiance or mattes"
_NO_ADAPT = "only the networks for color and mattes can be adapted in this version"

KINDS: Mapping[str, Kind] = {
    "color": Kind(
        ("aligned", "flow", "stpn"),
        frozenset({"colorspace", "keys_colorspace", "working", "weights", "adapt"}),
        formats_like="plate",
    ),
    "hdr": Kind(
        ("aligned", "flow", "stpn"),
        frozenset({"keys_colorspace", "ldr_curve", "hdr_colorspace", "weights"}),
        no_option={
            "colorspace": "the plate's code values are taken as they are and its curve is fitted to the keys; where it "
            "is known, name it with --ldr-curve",
            "working": "motion is told from the plate's code values",
            "adapt": _NO_ADAPT,
        },
        formats_why="which holds light beyond white",
    ),
    "mask": Kind(
        ("aligned", "flow"),
        frozenset({"colorspace", "mask_labels", "mask_output", "weights", "adapt"}),
        no_method={"stpn": "the paper's network is shipped for color alone"},
        no_option={
            "keys_colorspace": "mattes are no color",
            "working": "objects are told by the plate as people see it",
        },
        formats=frozenset({".png", ".tif", ".tiff"}),
        formats_like="keys",
    ),
    "channels": Kind(
        ("flow",),
        frozenset({"colorspace", "working", "channels", "channels_curve"}),
        no_method={"aligned": _NUMBERS, "stpn": _NUMBERS},
        no_option={
            "keys_colorspace": "channels are carried as the numbers they are",
            "weights": _NUMBERS,
            "adapt": _NUMBERS,
        },
        formats_why="which holds any channel",
    ),
}  # fmt: skip


def chosen_method(request: Request) -> str:
    """The method as asked, or the property's best where that is left open."""
    kind = KINDS.get(request.property, KINDS["color"])
    return kind.methods[0] if request.method == "auto" else request.method


def wrong_kind(request: Request) -> list[str]:
    """What is wrong with the property, or with options and methods that it does not take."""
    kind = KINDS.get(request.property)
    if kind is None:
        return [f"--property: expected one of {', '.join(KINDS)}, got {request.property!r}"]
    problems = []
    given = f"--property {request.property}"
    if request.method in METHODS and request.method not in kind.methods:
        why = kind.no_method[request.method]
        problems.append(f"--method {request.method}: expected {' or '.join(kind.methods)} with {given}: {why}")
    defaults = {f.name: None if f.default is MISSING else f.default for f in fields(Request)}
    for name in _SPECIAL:
        if name in kind.options or getattr(request, name) == defaults[name]:
            continue
        takers = ", ".join(other for other, its in KINDS.items() if name in its.options)
        why = kind.no_option.get(name, f"it goes with --property {takers}")
        problems.append(f"{_typed(name)}: not with {given}: {why}; leave it out")
    if request.channels_curve not in CHANNEL_CURVES:
        problems.append(
            f"--channels-curve: expected one of {', '.join(CHANNEL_CURVES)}, got {request.channels_curve!r}"
        )
    if request.mask_output not in MASK_OUTPUTS:
        problems.append(f"--mask-output: expected one of {', '.join(MASK_OUTPUTS)}, got {request.mask_output!r}")
    if request.property == "channels" and not (request.channels or "").strip(" ,"):
        problems.append(
            "--property channels: expected --channels with the names to carry, such as --channels depth.Z,N.*"
        )
    return problems


def wrong_output(request: Request) -> str | None:
    """What is expected of the result's extension, where it is another one; None: it is right."""
    kind = KINDS.get(request.property)
    suffix = Path(request.output).suffix.lower()
    if kind is None or suffix == ".exr":
        return None
    if request.property == "mask" and request.mask_output == "plate":
        return "expected .exr, since the plate's file gets the mattes (--mask-output plate)"
    if not kind.formats_like:
        return f"expected .exr, {kind.formats_why}"
    like = Path(getattr(request, kind.formats_like)).suffix
    if suffix == like.lower() and (kind.formats is None or suffix in kind.formats):
        return None
    if kind.formats is not None and like.lower() not in kind.formats:
        return "expected .exr"
    return f"expected {like} as the {kind.formats_like} {'have' if kind.formats_like == 'keys' else 'has'}, or .exr"


def _typed(name: str) -> str:
    return f"--{name.replace('_', '-')}"
