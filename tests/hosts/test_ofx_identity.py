"""What passes through the OpenFX plugin without a render, and what it prefers its output to be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ofx_host import Effect, Host, loaded
from ofx_images import Layout, pictures
from ofx_shots import connect, set_values


@pytest.fixture
def host(bundle: Path) -> Iterator[Host]:
    with loaded(bundle) as found:
        yield found


@pytest.fixture
def node(host: Host) -> Effect:
    """A node with a plate 1001-1100 and keys over the same range."""
    return connect(host.create())


# ---------------------------------------------------------------- what passes through


OPAQUE = Layout(premultiplication="OfxImageOpaque")


@pytest.mark.parametrize(
    ("values", "channels", "layout", "passes"),
    [
        ({}, 3, Layout(), True),
        ({}, 4, OPAQUE, True),
        ({}, 4, Layout(), False),
        ({}, 1, OPAQUE, False),
        ({"property": "hdr"}, 3, Layout(), True),
        ({"property": "hdr", "hdr_colorspace": "ACEScg"}, 3, Layout(), False),
        ({"property": "mask"}, 1, Layout(), True),
        ({"property": "mask"}, 4, Layout(), False),
        ({"property": "channels"}, 4, Layout(), True),
        ({"property": "channels"}, 1, Layout(), True),
        ({"property": "channels", "keys_colorspace": "ACEScg"}, 4, Layout(), True),
        ({"keys_colorspace": "ACEScg"}, 3, Layout(), False),
        ({"keys_colorspace": "ACEScg", "colorspace": "ACEScg"}, 3, Layout(), True),
        ({"output": "confidence"}, 3, Layout(), False),
        ({"mix": 0.5}, 3, Layout(), False),
    ],
)
def test_a_key_passes_through_where_it_is_the_result_bit_for_bit(
    node: Effect, values: dict[str, Any], channels: int, layout: Layout, passes: bool
) -> None:
    node.clips["Source"].layout = node.clips["Keys"].layout = layout
    connect(node, pictures(1, channels), pictures(2, channels))
    set_values(node, **values)
    assert node.identity(1021) == (("Keys", 1021.0) if passes else None)
    assert node.identity(1022) is None


def test_a_key_of_other_depth_or_beside_a_matte_does_not_pass(node: Effect) -> None:
    connect(node, pictures(1, 3), pictures(2, 3, np.float16))
    assert node.identity(1021) is None
    connect(node, pictures(1, 3), pictures(2, 3))
    assert node.identity(1021) == ("Keys", 1021.0)
    node.clips["Matte"].connect(pictures(3, 1), (1001, 1100))
    assert node.identity(1021) is None


def test_keys_that_a_render_refuses_do_not_pass(node: Effect) -> None:
    for dtype, passes in ((np.uint8, False), (np.uint16, False), (np.float16, True)):
        connect(node, pictures(1, 3, dtype), pictures(2, 3, dtype))
        set_values(node, property="hdr")
        assert (node.identity(1021) is not None) == passes


def test_mix_0_is_the_source(node: Effect) -> None:
    node["mix"] = lambda time: 0.0 if time < 1015 else 1.0
    assert node.identity(1010) == ("Source", 1010.0)
    assert node.identity(1016) is None
    node.clips["Output"].connect(pictures(1, 3), (1001, 1100))
    assert node.identity(1010) is None


def test_object_numbers_are_not_mixed_with_the_source(node: Effect) -> None:
    set_values(node, mix=0.0, property="mask", mask_labels=1)
    assert node.identity(1010) is None
    set_values(node, mask_labels=0)
    assert node.identity(1010) == ("Source", 1010.0)


def test_color_spaces_of_the_host_decide_what_passes(host: Host) -> None:
    node = host.create(OfxImageEffectPropColourManagementStyle="OfxImageEffectColourManagementOCIO")
    connect(node, pictures(1, 3), pictures(2, 3))
    node.clips["Source"].properties.set("OfxImageClipPropColourspace", "ACEScg")
    node.clips["Keys"].properties.set("OfxImageClipPropColourspace", "sRGB")
    assert node.identity(1021) is None
    node.clips["Keys"].properties.set("OfxImageClipPropColourspace", "OfxColourspace_Source")
    assert node.identity(1021) == ("Keys", 1021.0)


# ---------------------------------------------------------------- preferences


@pytest.mark.parametrize(
    ("property_", "context", "components", "depth"),
    [
        ("color", "General", "RGBA", "Half"),
        ("hdr", "General", "RGBA", "Float"),
        ("mask", "General", "Alpha", "Float"),
        ("channels", "General", "Alpha", "Float"),
        ("mask", "Filter", None, "Float"),
    ],
)
def test_the_output_is_like_the_input_that_it_comes_from(
    host: Host, property_: str, context: str, components: str | None, depth: str
) -> None:
    node = host.create(context)
    node.clips["Keys"].layout = OPAQUE
    connect(node, pictures(1, 4, np.float16), pictures(2, 1))
    set_values(node, property=property_)
    preferences = node.preferences()
    assert preferences.get("OfxImageClipPropComponents_Output") == (components and f"OfxImageComponent{components}")
    assert preferences["OfxImageClipPropDepth_Output"] == f"OfxBitDepth{depth}"
    assert preferences["OfxImageEffectFrameVarying"] == 1
    light = property_ in ("color", "hdr")
    assert preferences["OfxImageEffectPropPreMultiplication"] == (
        "OfxImageAlphaPremultiplied" if light else "OfxImageOpaque"
    )
    assert preferences.get("OfxImageClipPropPreferredColourspaces_Keys") == (None if light else "ofx_raw")


def test_depths_are_left_alone_where_the_host_has_one_for_all(bundle: Path) -> None:
    with loaded(bundle, properties={"OfxImageEffectPropMultipleClipDepths": 0}) as host:
        node = host.create()
        connect(node, pictures(1), pictures(2, 1))
        set_values(node, property="mask")
        assert "OfxImageClipPropDepth_Output" not in node.preferences()


@pytest.mark.parametrize(
    ("values", "space"),
    [
        ({}, "OfxColourspace_Source"),
        ({"property": "hdr"}, "OfxColourspace_Keys"),
        ({"property": "hdr", "hdr_colorspace": "ACEScg"}, "ACEScg"),
        ({"property": "mask"}, "OfxColourspace_Keys"),
        ({"output": "confidence"}, "ofx_raw"),
    ],
)
def test_the_color_space_of_the_result(host: Host, node: Effect, values: dict[str, Any], space: str) -> None:
    set_values(node, **values)
    given = {"OfxImageClipPropColourspace": ""}
    status, out = host.call("OfxImageEffectActionGetOutputColourspace", node, {}, given)
    assert (status, out.one("OfxImageClipPropColourspace")) == (0, space)
