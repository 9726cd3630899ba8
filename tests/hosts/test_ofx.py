"""The OpenFX plugin as a host sees it: what it describes, which frames it needs, what passes through."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ofx_host import Effect, Host, loaded
from ofx_images import Layout, pictures
from ofx_shots import choice, connect, set_values

from stpn.ocio.sequence import SequenceError, parse_frames
from stpn.plugin import keys as definition
from stpn.plugin import node as described

SHOWN = [one for one in described.PARAMETERS if not one.files_only]
KINDS = {"choice": "Choice", "int": "Integer", "float": "Double", "bool": "Boolean"}


@pytest.fixture
def host(bundle: Path) -> Iterator[Host]:
    with loaded(bundle) as found:
        yield found


@pytest.fixture
def node(host: Host) -> Effect:
    """A node with a plate 1001-1100 and keys over the same range."""
    return connect(host.create())


# ---------------------------------------------------------------- describe


def test_only_the_entry_points_are_exported(bundle: Path) -> None:
    binary = next(bundle.glob("Contents/*/*.ofx"))
    listed = subprocess.run(["nm", "-D", "--defined-only", binary], capture_output=True, text=True, check=True).stdout
    assert {line.split()[-1] for line in listed.splitlines()} == {"OfxGetNumberOfPlugins", "OfxGetPlugin", "OfxSetHost"}


def test_the_plugin_is_the_node(host: Host) -> None:
    assert (host.load_status, host.describe_status) == (0, 0)
    assert host.plugin.identifier.decode() == described.IDENTIFIER
    assert (host.plugin.major, host.plugin.minor) == described.VERSION
    assert (host.plugin.api, host.plugin.api_version) == (b"OfxImageEffectPluginAPI", 1)
    told = host.descriptor.properties
    assert told.one("OfxPropLabel") == described.NAME
    assert told.one("OfxPropPluginDescription") == described.HELP
    assert told.values["OfxImageEffectPropSupportedContexts"] == [
        "OfxImageEffectContextGeneral",
        "OfxImageEffectContextFilter",
    ]
    depths = {name.removeprefix("OfxBitDepth") for name in told.values["OfxImageEffectPropSupportedPixelDepths"]}
    assert depths == {"Float", "Half", "Short", "Byte"}
    assert told.one("OfxImageEffectPropTemporalClipAccess") == 1
    assert told.one("OfxImageEffectPropSupportsTiles") == 0
    assert told.one("OfxImageEffectPropSupportsMultiResolution") == 1
    assert told.one("OfxImageEffectPluginRenderThreadSafety") == "OfxImageEffectRenderFullySafe"


@pytest.mark.parametrize("context", ["General", "Filter"])
def test_inputs_are_those_of_the_node(host: Host, context: str) -> None:
    clips = host.describe(context).clips
    assert list(clips) == [*(one.name for one in described.INPUTS), "Output"]
    for one in described.INPUTS:
        told = clips[one.name].properties
        assert told.one("OfxParamPropHint") == one.help
        assert told.one("OfxImageEffectPropTemporalClipAccess") == one.temporal
        assert told.one("OfxImageEffectPropSupportsTiles") == 0
        optional = one.optional or (context == "Filter" and one.name != "Source")
        assert told.one("OfxImageClipPropOptional") == optional
        assert len(told.values["OfxImageEffectPropSupportedComponents"]) == 3
    assert clips["Matte"].properties.one("OfxImageClipPropIsMask") == 1


@pytest.mark.parametrize("context", ["General", "Filter"])
@pytest.mark.parametrize("one", SHOWN, ids=lambda one: one.name)
def test_parameters_are_those_of_the_node(host: Host, one: described.Parameter, context: str) -> None:
    found = host.describe(context).parameters[one.name]
    told = found.properties
    assert found.kind == f"OfxParamType{KINDS.get(one.kind, 'String')}"
    assert (told.one("OfxPropLabel"), told.one("OfxParamPropHint")) == (one.label, one.help)
    default = choice(one.name, str(one.default)) if one.kind == "choice" else one.default
    assert told.one("OfxParamPropDefault") == default
    assert told.values.get("OfxParamPropChoiceOption", []) == [label for _, label in one.choices]
    assert (told.one("OfxParamPropMin"), told.one("OfxParamPropMax")) == (one.minimum, one.maximum)
    matters = "OfxParamInvalidateAll" if one.name != "device" else None
    assert told.one("OfxParamPropCacheInvalidation") == matters
    assert told.one("OfxParamPropStringMode") == {
        "file": "OfxParamStringIsFilePath",
        "text": "OfxParamStringIsSingleLine",
        "frame": "OfxParamStringIsSingleLine",
    }.get(one.kind)


def test_no_parameter_but_the_nodes_and_groups_as_headings(host: Host) -> None:
    found = host.describe().parameters
    values = [name for name, one in found.items() if one.kind not in ("OfxParamTypeGroup", "OfxParamTypePage")]
    assert values == [one.name for one in SHOWN]
    for one in SHOWN:
        parent = found[one.name].properties.one("OfxParamPropParent")
        assert (found[parent].properties.one("OfxPropLabel") if parent else "") == one.group
    pages = [one for one in found.values() if one.kind == "OfxParamTypePage"]
    assert len(pages) == 1
    assert set(pages[0].properties.values["OfxParamPropPageChild"]) == set(found) - {pages[0].name}


@pytest.mark.parametrize("property_", [value for value, _ in described.parameter("property").choices])
def test_parameters_that_do_not_go_with_the_property_are_disabled(node: Effect, property_: str) -> None:
    node["property"] = choice("property", property_)
    assert node.changed("mix") == 14
    assert node.changed("property") == 0
    for one in SHOWN:
        enabled = node.parameters[one.name].properties.one("OfxParamPropEnabled", 1)
        assert enabled == (not one.goes_with or property_ in one.goes_with), one.name


def test_a_host_without_other_frames_is_refused(bundle: Path) -> None:
    with loaded(bundle, properties={"OfxImageEffectPropTemporalClipAccess": 0}) as host:
        assert host.describe_status == 4
        assert "other frames" in host.messages[0][2]


def test_a_host_with_the_suites_of_version_1_alone_will_do(bundle: Path) -> None:
    with loaded(bundle, messages=None, progress=None) as host:
        assert host.describe_status == 0
        host.create()


# ---------------------------------------------------------------- frames


def expected(frame: int, keys: tuple[int, ...], used: str, method: str) -> dict[str, list[float]] | None:
    """Frames needed as plugin/keys.py says, None where no key serves."""
    if frame in keys:
        return {"Source": [frame, frame], "Keys": [frame, frame]}
    before, after = definition.serving(frame, keys, used)
    span = definition.Span(before, after, (frame,))
    if not span.keys:
        return None
    plate = sorted({frame, *span.keys}) if method == "stpn" else list(span.reach)
    return {"Source": ranges(plate), "Keys": ranges(list(span.keys))}


def ranges(frames: list[int]) -> list[float]:
    """Firsts and lasts of runs."""
    firsts = [one for one in frames if one - 1 not in frames]
    return [
        end
        for first in firsts
        for end in (first, next(one for one in frames if one >= first and one + 1 not in frames))
    ]


@pytest.mark.parametrize(
    ("values", "frames", "keys"),
    [
        ({}, (1001, 1100), range(1001, 1101, 20)),
        ({"interval": 7}, (1001, 1100), range(1001, 1101, 7)),
        ({"first_key": " 1005 "}, (1001, 1100), range(1005, 1101, 20)),
        ({"first_key": "-10", "interval": 4}, (-3, 9), [-2, 2, 6]),
        ({"key_frames": "1001-1100x20,1093"}, (1001, 1100), parse_frames("1001-1100x20,1093")),
        ({"key_frames": " 1040 - 1010 x 7 "}, (1001, 1100), parse_frames("1040-1010x7")),
        ({"key_frames": "-5--20x5, 3"}, (-30, 30), parse_frames("-5--20x5,3")),
        ({"key_frames": "1050"}, (1, 1), [1050]),
    ],
)
@pytest.mark.parametrize("used", ["both", "previous", "next"])
@pytest.mark.parametrize("method", ["auto", "stpn"])
def test_frames_needed_are_what_a_render_looks_at(
    node: Effect, values: dict[str, Any], frames: tuple[int, int], keys: Any, used: str, method: str
) -> None:
    connect(node, frames=frames)
    set_values(node, keys_used=used, method=method, **values)
    for frame in range(min(keys) - 3, max(keys) + 4):
        default = {"Source": [frame, frame], "Keys": [frame, frame]}
        wanted = expected(frame, tuple(keys), used, method)
        assert (node.frames_needed(frame) or default) == (wanted or default), frame
        assert (node.frames_needed(frame) is None) == (wanted is None)


def test_frames_needed_in_random_cases(node: Effect) -> None:
    generator = random.Random(7)
    for _ in range(300):
        first = generator.randint(-50, 2000)
        last = first + generator.randint(0, 200)
        interval = generator.randint(1, 60)
        used = generator.choice(["both", "previous", "next"])
        listed = generator.random() < 0.5
        keys: tuple[int, ...] = tuple(range(first, last + 1, interval))
        if listed:
            keys = tuple(sorted(generator.sample(range(first, last + 1), min(5, last - first + 1))))
        connect(node, frames=(first, last))
        text = ",".join(map(str, keys)) if listed else ""
        set_values(node, keys_used=used, interval=interval, key_frames=text)
        frame = generator.randint(first - 5, last + 5)
        assert node.frames_needed(frame) == expected(frame, keys, used, "auto"), (frame, keys, used)


def test_a_time_between_frames_is_the_nearest_frame(node: Effect) -> None:
    assert node.frames_needed(1009.5) == node.frames_needed(1010)
    assert node.frames_needed(1010.49) == node.frames_needed(1010)


def test_keys_of_a_clip_without_end_are_counted_not_listed(node: Effect) -> None:
    connect(node, frames=(-2147483648.0, 2147483647.0))
    assert node.frames_needed(1010) is None
    set_values(node, first_key="1001")
    assert node.frames_needed(10_000_011) == expected(10_000_011, (10_000_001, 10_000_021), "both", "auto")


def test_regions_are_whole_frames(host: Host, node: Effect) -> None:
    node.clips["Source"].layout = node.clips["Keys"].layout = Layout(origin=(5, -3))
    given = {"OfxImageClipPropRoI_Source": (0, 0, 1, 1), "OfxImageClipPropRoI_Keys": (0, 0, 1, 1)}
    _, out = host.call("OfxImageEffectActionGetRegionsOfInterest", node, {"OfxPropTime": 1010.0}, given)
    assert set(map(tuple, out.values.values())) == {(5, -3, 42, 21)}
    given = {"OfxImageEffectPropRegionOfDefinition": (0, 0, 1, 1)}
    _, out = host.call("OfxImageEffectActionGetRegionOfDefinition", node, {"OfxPropTime": 1010.0}, given)
    assert out.values["OfxImageEffectPropRegionOfDefinition"] == [5, -3, 42, 21]
    given = {"OfxImageEffectPropFrameRange": (0, 0)}
    node.clips["Keys"].connect(pictures(2), (900, 2000))
    _, out = host.call("OfxImageEffectActionGetTimeDomain", node, None, given)
    assert out.values["OfxImageEffectPropFrameRange"] == [1001, 1100]


@pytest.mark.parametrize("text", ["1001-", "10,,20", "x", "1..5", "10x2", "1-5x0", "1-2000000", "12345678901", "1 2-3"])
def test_a_bad_key_list_is_bad_in_both_languages(node: Effect, host: Host, text: str) -> None:
    node["key_frames"] = text
    try:
        keys = parse_frames(text)
    except SequenceError:
        assert node.render(1010, pictures(1)(1010)) is None
        assert (host.complaint or "").startswith("Key frames: expected ")
    else:
        assert node.frames_needed(keys[0]) is not None


# ---------------------------------------------------------------- what is wrong with a request


def render_complaint(host: Host, node: Effect, frame: float = 1010, **options: Any) -> str:
    """The sentence of a frame that cannot be made."""
    assert node.render(frame, pictures(1)(1010), **options) is None
    return host.complaint or ""


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda node: node.clips["Source"].connect(None), "input Source"),
        (lambda node: node.clips["Keys"].connect(None), "input Keys"),
        (
            lambda node: connect(node, keys=pictures(2, shape=(24, 36))),
            "Keys at 1001 is 36 x 24, Source at 1010 is 37 x 24",
        ),
        (
            lambda node: connect(node, source=lambda time: pictures(1, shape=(24, 37 - (time == 1013)))(time)),
            "Source at 1013 is 36 x 24, Source at 1010 is 37 x 24",
        ),
        (
            lambda node: connect(node, keys=lambda time: None if time == 1021 else pictures(2)(time)),
            "Keys at 1021 has no",
        ),
        (
            lambda node: connect(node, source=lambda time: None if time == 1005 else pictures(1)(time)),
            "Source at 1005 has no",
        ),
        (lambda node: set_values(node, key_frames="1001;1021"), "place 1, found '1001;1021'"),
        (lambda node: set_values(node, first_key="soon"), "First key: expected a frame number such as 1001"),
        (lambda node: set_values(node, first_key="1200"), "First key 1200 lies behind the last frame of Keys, 1100"),
        (
            lambda node: set_values(node, first_key="1020", keys_used="previous"),
            "Frame 1010: no key frame before it serves",
        ),
        (lambda node: setattr(node.clips["Keys"].layout, "field", "OfxFieldUpper"), "Keys at 1001 is a field"),
        (lambda node: setattr(node.clips["Keys"].layout, "origin", (4, 0)), r"37 x 24 from \(4, 0\)"),
        (lambda node: set_values(node, mix=1.0), "stpn.conf is missing. Run install.py ofx"),
    ],
)
def test_a_wrong_request_is_told_at_the_node(
    host: Host, node: Effect, change: Callable[[Effect], Any], sentence: str
) -> None:
    change(node)
    said = render_complaint(host, node)
    assert re.search(sentence, said), said
    assert host.messages[-1][1] == "OfxMessageError"


def test_fields_are_refused(host: Host, node: Effect) -> None:
    assert "deinterlace" in render_complaint(host, node, fielded="Lower")
    assert node.clips["Source"].requested == []


def test_a_filter_without_keys_says_what_it_lacks(host: Host) -> None:
    node = host.create("Filter")
    node.clips["Source"].connect(pictures(1), (1001, 1100))
    assert "cannot use this node as a filter" in render_complaint(host, node)


@pytest.mark.parametrize(("background", "kind"), [(0, "OfxMessageError"), (1, "OfxMessageLog")])
def test_a_host_without_persistent_messages_opens_no_dialog_in_the_background(
    bundle: Path, background: int, kind: str
) -> None:
    with loaded(bundle, messages=1, properties={"OfxImageEffectHostPropIsBackground": background}) as host:
        node = host.create()
        assert node.render(1010, pictures(1)(1010)) is None
        assert [(way, of) for way, of, _ in host.messages] == [("message", kind)]
        assert "input Source" in host.messages[0][2]
