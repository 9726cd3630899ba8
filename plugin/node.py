"""The node STPN Propagate, described once: inputs, parameters, defaults, ranges, help. Every host shows these.

What a host shows is generated from `as_json`, or checked against it by a test. Nothing here imports more than the
standard library, so that any host's Python can read it.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass

NAME = "STPN Propagate"
IDENTIFIER = "org.stpn.propagate"
VERSION = (1, 0)
"""Of the node as hosts save it: the first number changes when saved scenes would mean something else."""

HELP = """\
Carries what you painted or rendered on a few key frames to every frame between.

Connect the plate to Source and the painted frames to Keys: a file sequence or clip in which the key frames stand at \
their own frame numbers. A key frame comes out as it was given; the frames between follow the motion of the plate.

color: the plate's luminance with the colors of the keys. hdr: the light of HDR keys where the plate has clipped. \
mask: mattes. channels: any numbers that the keys hold.

The work is done by a process of its own, which runs as long as somebody uses the node and has a log."""


@dataclass(frozen=True)
class Input:
    """A picture that goes in.

    Attributes:
        name: as hosts show and save it.
        help: what it is for, one or two sentences.
        optional: whether it may be left unconnected.
        temporal: whether other frames than the rendered one are asked for.
    """

    name: str
    help: str
    optional: bool = False
    temporal: bool = True


@dataclass(frozen=True)
class Parameter:
    """Something to set.

    Attributes:
        name: as hosts save it, and as `stpn.plugin.request.Request` calls it where it has it.
        label: as people see it.
        kind: choice, int, float, bool, text; file is a text that names a file; frame is a text that holds a frame
            number or nothing.
        default: of a choice its value.
        help: what it does, with units.
        choices: value and label of each, in order.
        minimum, maximum: of a number, both inclusive.
        group: the heading it stands under; "": at the top.
        goes_with: the values of `property` that take it; none: all do.
        files_only: whether only hosts have it that render files, not single frames on demand.
    """

    name: str
    label: str
    kind: str
    default: str | int | float | bool
    help: str
    choices: tuple[tuple[str, str], ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    group: str = ""
    goes_with: tuple[str, ...] = ()
    files_only: bool = False


INPUTS = (
    Input("Source", "The guidance plate: every frame of the shot. Motion is told from it."),
    Input(
        "Keys",
        "The key frames, painted or rendered, at their own frame numbers and of the plate's size. What lies between "
        "them is not looked at.",
    ),
    Input(
        "Matte",
        "Where to apply: 1 shows the result, 0 the Source. Its alpha is taken, or its first channel where it has none.",
        optional=True,
        temporal=False,
    ),
)

_COLOR = "Color spaces"
_MORE = "More"

PARAMETERS = (
    Parameter(
        "property",
        "Property",
        "choice",
        "color",
        "What is carried. Color: the plate's luminance with the colors of the keys. HDR radiance: the light of HDR "
        "keys where the plate has clipped. Mask: mattes, 0 to 1. Channels: the keys' channels as the numbers they are.",
        choices=(("color", "Color"), ("hdr", "HDR radiance"), ("mask", "Mask"), ("channels", "Channels")),
    ),
    Parameter(
        "interval",
        "Interval",
        "int",
        20,
        "Frames from one key to the next. Not used where Key frames are listed.",
        minimum=1,
        maximum=1000,
    ),
    Parameter(
        "first_key",
        "First key",
        "frame",
        "",
        "Frame of the first key. Empty: the first frame that Keys has. Not used where Key frames are listed.",
    ),
    Parameter(
        "key_frames",
        "Key frames",
        "text",
        "",
        "The key frames, in place of an interval, such as 1001-1100x20,1093. Empty: by Interval and First key.",
    ),
    Parameter(
        "keys_used",
        "Keys used",
        "choice",
        "both",
        "Which keys around a frame serve it.",
        choices=(("both", "Both sides"), ("previous", "Previous only"), ("next", "Next only")),
    ),
    Parameter(
        "method",
        "Method",
        "choice",
        "auto",
        "Auto: the best for the property. Aligned: motion of both keys, weighed, matched and filled in by a network. "
        "Flow: motion of both keys, without learning. Paper: the paper's network alone, from the nearest key.",
        choices=(("auto", "Auto"), ("aligned", "Aligned"), ("flow", "Flow"), ("stpn", "Paper (STPN)")),
    ),
    Parameter(
        "output",
        "Output",
        "choice",
        "result",
        "The result, or how sure each pixel of it is: 0 not at all, 1 sure; at key frames 1.",
        choices=(("result", "Result"), ("confidence", "Confidence")),
    ),
    Parameter(
        "mix",
        "Mix",
        "float",
        1.0,
        "How much of the result is shown: 0 shows the Source, 1 the result.",
        minimum=0.0,
        maximum=1.0,
    ),
    Parameter(
        "colorspace",
        "Source color space",
        "text",
        "auto",
        "Color space of the Source by its name in the OCIO config. Auto: what the host says; where it says nothing, "
        "scene_linear for float and half, sRGB for 8 and 16 bit. In files: what the file says.",
        group=_COLOR,
        goes_with=("color", "mask", "channels"),
    ),
    Parameter(
        "keys_colorspace",
        "Keys color space",
        "text",
        "auto",
        "Color space of the Keys by its name in the OCIO config. Auto: as for the Source.",
        group=_COLOR,
        goes_with=("color", "hdr"),
    ),
    Parameter(
        "working",
        "Working curve",
        "text",
        "linear",
        "Curve in which frames are matched: linear (CIE lightness of scene-linear light), or a log space of the "
        "config such as ACEScct, for plates far beyond white.",
        group=_COLOR,
        goes_with=("color", "channels"),
    ),
    Parameter(
        "ldr_curve",
        "HDR: plate curve",
        "text",
        "",
        "Color space of the plate, where it is known. Empty: the camera's curve is fitted to the keys.",
        group=_COLOR,
        goes_with=("hdr",),
    ),
    Parameter(
        "hdr_colorspace",
        "HDR: result space",
        "text",
        "",
        "Scene-linear color space of the result. Empty: that of the keys.",
        group=_COLOR,
        goes_with=("hdr",),
    ),
    Parameter(
        "ocio",
        "OCIO config",
        "file",
        "",
        "The OCIO config. Empty: the host's, else $OCIO, else a built-in ACES config.",
        group=_COLOR,
    ),
    Parameter(
        "mask_labels",
        "Mask: object numbers",
        "bool",
        False,
        "The keys hold object numbers in place of mattes: 0 background, 1 to 255 objects; so does the result.",
        group=_MORE,
        goes_with=("mask",),
    ),
    Parameter(
        "channels_curve",
        "Channels: curve",
        "choice",
        "linear",
        "Curve in which values are blended; log for depth and light of a wide range.",
        choices=(("linear", "Linear"), ("log", "Log")),
        group=_MORE,
        goes_with=("channels",),
    ),
    Parameter(
        "cuts",
        "Cuts",
        "text",
        "auto",
        "Where new shots begin, across which no key serves. Auto: looked for in the frames from key to key; none; or "
        "the first frame of each shot, such as 1041,1093.",
        group=_MORE,
    ),
    Parameter(
        "weights",
        "Weights",
        "file",
        "",
        "Weights of the method's network, such as those that `stpn propagate --adapt` has made for this shot. Empty: "
        "those that are shipped.",
        group=_MORE,
        goes_with=("color", "hdr", "mask"),
    ),
    Parameter(
        "adapt",
        "Adapt",
        "text",
        "",
        "How long to fine-tune the network on this shot's own keys before anything is rendered: minutes, or steps such "
        "as 300steps; of mattes steps alone. Empty: not at all.",
        group=_MORE,
        goes_with=("color", "mask"),
        files_only=True,
    ),
    Parameter(
        "device",
        "Device",
        "choice",
        "auto",
        "What the work runs on. Auto takes the fastest that there is; the others fail where they cannot run.",
        choices=(("auto", "Auto"), ("cpu", "CPU"), ("cuda", "CUDA"), ("tensorrt", "TensorRT")),
        group=_MORE,
    ),
)


def parameter(name: str) -> Parameter:
    """The parameter of a name."""
    return next(one for one in PARAMETERS if one.name == name)


def for_people(text: str) -> str:
    """A message of `stpn propagate` for somebody at a node: options become labels of parameters."""
    labels = {f"--{one.name.replace('_', '-')}": one.label for one in PARAMETERS}
    labels |= {"--plate": "Source", "--keys": "Keys"}
    return re.sub(r"--[a-z][a-z-]*", lambda found: labels.get(found[0], found[0]), text)


def as_json() -> str:
    """The whole node as one JSON object, for hosts whose faces are made from it."""
    described = {
        "name": NAME,
        "identifier": IDENTIFIER,
        "version": VERSION,
        "help": HELP,
        "inputs": [asdict(one) for one in INPUTS],
        "parameters": [asdict(one) for one in PARAMETERS],
    }
    return json.dumps(described, indent=2) + "\n"
