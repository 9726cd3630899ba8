"""Frames that the OpenFX plugin renders with a stand-in worker: pixels of every layout, and what is sent for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ofx_host import Array, Effect, Host, loaded
from ofx_images import Layout, pictures
from ofx_shots import choice, connect, same

from stpn.plugin import node as described

DTYPES = (np.float32, np.float16, np.uint16, np.uint8)
LAYOUTS = (Layout(), Layout(padding=20), Layout(negative=True), Layout(padding=12, negative=True, origin=(-7, 3)))
FRAMES = (1001, 1041)

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the stand-in worker needs memfd and /proc"
)


@pytest.fixture
def stand(stand_of_module: Any) -> Any:
    """The stand-in of all these tests, with an empty record; what earlier ones have sent it still holds."""
    stand_of_module.path.unlink(missing_ok=True)
    return stand_of_module


@pytest.fixture
def host(bundle_of_module: Path, stand: Any) -> Iterator[Host]:
    with loaded(bundle_of_module) as found:
        yield found


@pytest.fixture
def node(host: Host) -> Effect:
    return connect(host.create(), frames=FRAMES)


def last_job(stand: Any) -> dict[str, list[str]]:
    """The lines of the last job by their name."""
    lines = stand.record("job")[-1]["job"]
    return {name: [value for found, value in lines if found == name] for name, _ in lines}


# ---------------------------------------------------------------- pixels


@pytest.mark.parametrize("layout", LAYOUTS, ids=["plain", "padded", "negative", "moved"])
@pytest.mark.parametrize("channels", [4, 3, 1])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_every_pixel_goes_there_and_back(host: Host, node: Effect, dtype: Any, channels: int, layout: Layout) -> None:
    source, keys = pictures(1, channels, dtype), pictures(2, channels, dtype)
    connect(node, source, keys, layout)
    wanted = keys(1001).copy()
    if channels == 4:
        wanted[..., 3] = source(1010)[..., 3]
    assert same(node.render(1010, source(1010)), wanted), host.complaint
    node["property"] = choice("property", "channels")
    for clip, frame in (("source", 1004), ("key", 1021)):
        node["weights"] = f"{clip} {frame}"
        assert same(node.render(1010, source(1010)), (source if clip == "source" else keys)(frame))
    assert host.messages == []


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("channels", [4, 3, 1])
def test_pictures_that_are_copied_on_two_threads(host: Host, node: Effect, dtype: Any, channels: int) -> None:
    shape = (1031, 1025)
    source, keys = pictures(1, channels, dtype, shape), pictures(2, channels, dtype, shape)
    connect(node, source, keys, Layout(padding=4, negative=channels == 3, named=channels != 1))
    node["key_frames"] = "1010"
    wanted = keys(1010).copy()
    if channels == 4:
        wanted[..., 3] = source(1010)[..., 3]
    assert same(node.render(1010, source(1010)), wanted), host.complaint


def test_bits_that_are_no_numbers_survive(host: Host, node: Effect) -> None:
    odd = np.zeros((24, 37, 4), np.uint32)
    odd[:] = np.resize(np.array([0x7FA00001, 0xFF800000, 0x80000001, 0x7F7FFFFF], np.uint32), odd.shape)
    connect(node, lambda _: odd.view(np.float32), lambda _: odd[::-1].copy().view(np.float32))
    wanted = odd[::-1].copy()
    wanted[..., 3] = odd[..., 3]
    assert same(node.render(1010, odd.view(np.float32)), wanted.view(np.float32)), host.complaint


def converted(values: Array, dtype: Any) -> Array:
    """Alpha of one depth in another: whole numbers stand for 0 to 1."""
    numbers = values.astype(np.float64)
    if np.issubdtype(values.dtype, np.integer):
        numbers = numbers / np.iinfo(values.dtype).max
    if np.issubdtype(dtype, np.integer):
        return np.floor(np.clip(numbers, 0, 1) * np.iinfo(dtype).max + 0.5).astype(dtype)
    return numbers.astype(np.float32).astype(dtype)


@pytest.mark.parametrize("of", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("to", DTYPES, ids=lambda dtype: dtype.__name__)
def test_alpha_of_another_depth_is_converted(host: Host, node: Effect, of: Any, to: Any) -> None:
    source, keys = pictures(1, 4, of), pictures(2, 4, to)
    connect(node, source, keys)
    wanted = keys(1001).copy()
    wanted[..., 3] = converted(source(1010)[..., 3], to)
    found = node.render(1010, wanted)
    assert found is not None, host.complaint
    assert same(found[..., :3], wanted[..., :3])
    # one step: numpy rounds from 64 bits, the plugin from 32
    step = 1 if np.issubdtype(to, np.integer) else 0
    assert np.abs(found[..., 3].astype(np.float64) - wanted[..., 3]).max() <= step


def test_half_alpha_is_converted_as_numpy_does(host: Host, node: Effect) -> None:
    every = np.arange(65536, dtype=np.uint16).view(np.float16).reshape(256, 256, 1)
    every = np.where(np.isnan(every), np.float16(0), every).repeat(4, 2)
    edge = np.ldexp(np.random.default_rng(3).normal(size=(256, 256, 4)), np.arange(256)[:, None, None] % 60 - 34)
    for given, to in ((every, np.float32), (edge.astype(np.float32), np.float16)):
        connect(node, lambda _, given=given: given, lambda _, to=to: np.zeros((256, 256, 4), to))
        node.clips["Source"].layout.named = False
        with np.errstate(over="ignore"):
            wanted = given[..., 3].astype(to)
        found = node.render(1010, np.zeros((256, 256, 4), to))
        assert found is not None, host.complaint
        assert same(found[..., 3], wanted)


def test_channels_that_are_not_made_are_the_source_s(host: Host, node: Effect) -> None:
    node["weights"] = "none 1004"
    wanted = pictures(1)(1010).copy()
    wanted[..., 0] = pictures(1)(1004)[..., 0]
    assert same(node.render(1010, wanted), wanted), host.complaint


@pytest.mark.parametrize(("dtype", "one"), [(np.float32, 1), (np.float16, 1), (np.uint16, 65535), (np.uint8, 255)])
def test_alpha_without_a_source_is_1(host: Host, node: Effect, dtype: Any, one: int) -> None:
    connect(node, pictures(1, 3, dtype), pictures(2, 3, dtype))
    found = node.render(1010, np.zeros((24, 37, 4), dtype))
    assert found is not None, host.complaint
    assert same(found[..., :3], pictures(2, 3, dtype)(1001))
    assert (found[..., 3] == one).all()


def test_an_output_of_another_region_gets_what_lies_in_it(host: Host, node: Effect) -> None:
    connect(node, layout=Layout(origin=(0, 0)))
    node.clips["Output"].layout = Layout(origin=(-2, 5), padding=8)
    found = node.render(1010, np.zeros((30, 20, 4), np.float32))
    key = pictures(2)(1001).copy()
    key[..., 3] = pictures(1)(1010)[..., 3]
    # upright: rows from the bottom
    wanted = np.zeros((30, 20, 4), np.float32)
    wanted[: 24 - 5, 2:] = key[::-1][5:, : 20 - 2]
    assert same(found, wanted[::-1]), host.complaint


def test_only_the_render_window_is_written(host: Host, node: Effect) -> None:
    found = node.render(1010, np.zeros((24, 37, 4), np.float32), window=(3, 4, 20, 10))
    assert found is not None, host.complaint
    upright = found[::-1]
    assert same(upright[4:10, 3:20, :3], pictures(2)(1001)[::-1][4:10, 3:20, :3])
    outside = np.ones((24, 37), bool)
    outside[4:10, 3:20] = False
    assert (upright[outside] == 77).all()


def test_a_matte_is_0_where_it_is_not(host: Host, node: Effect, stand: Any) -> None:
    matte = pictures(5, 1, shape=(6, 8))(0)
    node.clips["Matte"].layout = Layout(origin=(30, -2))
    node.clips["Matte"].connect(lambda _: matte, FRAMES)
    node["property"] = choice("property", "mask")
    node["weights"] = "matte"
    found = node.render(1010, np.zeros((24, 37, 1), np.float32))
    wanted = np.zeros((24, 37, 1), np.float32)
    wanted[:4, 30:] = matte[::-1][2:, :7]
    assert same(found, wanted[::-1]), host.complaint
    assert node.clips["Matte"].requested == [1010.0, 1010.0]


# ---------------------------------------------------------------- what is sent


@pytest.mark.parametrize("method", ["auto", "stpn"])
def test_exactly_the_frames_needed_are_fetched(node: Effect, method: str) -> None:
    node["method"] = choice("method", method)
    for frame in (1001, 1010, 1021, 1030):
        for clip in node.clips.values():
            clip.requested.clear()
        needed = node.frames_needed(frame)
        assert needed is not None
        node.render(frame, pictures(1)(frame))
        for name in ("Source", "Keys"):
            pairs = zip(needed[name][::2], needed[name][1::2], strict=True)
            wanted = {float(one) for first, last in pairs for one in range(int(first), int(last) + 1)}
            assert set(node.clips[name].requested) == wanted


def test_a_job_says_what_the_node_says(node: Effect, stand: Any) -> None:
    node["mix"] = 0.1
    node["cuts"] = "none"
    node["mask_labels"] = 1
    node["colorspace"] = "a \\ name\nof \udcff two lines"
    node.render(1010.4, pictures(1)(1010))
    job = last_job(stand)
    assert job["frame"] == ["1010"]
    sent = dict(value.split(" ", 1) for value in job["parameter"])
    left_out = {"interval", "first_key", "key_frames", "adapt"}
    changed = {"mix": "0.10000000000000001", "cuts": "none", "mask_labels": "1"}
    changed |= {"colorspace": "a \\ name\nof ? two lines"}
    defaults = {one.name: one.default for one in described.PARAMETERS if one.name not in left_out}
    assert sent == {name: str(value) for name, value in defaults.items()} | changed
    assert [line.split()[0] for line in job["source"]] == [str(frame) for frame in range(1001, 1022)]
    assert [line.split()[0] for line in job["key"]] == ["1001", "1021"]
    assert all(line.endswith(" 37 24 float RGBA") for line in job["picture"])
    assert len(set(job["picture"])) == 23
    assert job["want"] == ["float RGBA"]
    assert not {"matte", "colorspace", "keys_colorspace"} & set(job)


def test_a_key_frame_alone_serves_itself(node: Effect, stand: Any) -> None:
    node.render(1021, pictures(1)(1021))
    job = last_job(stand)
    assert [line.split()[0] for line in (*job["source"], *job["key"])] == ["1021", "1021"]


@pytest.mark.parametrize(
    ("style", "source", "keys", "sent", "config"),
    [
        ("OCIO", "ACEScg", "OfxColourspace_Source", ("ACEScg", "ACEScg"), "/show/config.ocio"),
        ("OCIO", "ACEScg", "", ("ACEScg", None), "/show/config.ocio"),
        (
            "Full",
            "acescct",
            "lin_rec2020",
            ("acescct", "lin_rec2020"),
            "ocio://studio-config-v2.1.0_aces-v1.3_ocio-v2.3",
        ),
        (
            "Basic",
            "ofx_scene_linear",
            "ofx_raw",
            ("scene_linear", None),
            "ocio://studio-config-v2.1.0_aces-v1.3_ocio-v2.3",
        ),
        ("None", "ACEScg", "ACEScg", (None, None), "/from/the/environment.ocio"),
    ],
)
def test_color_spaces_of_the_host(
    host: Host, stand: Any, monkeypatch: pytest.MonkeyPatch, style: str, source: str, keys: str, sent: Any, config: str
) -> None:
    monkeypatch.setenv("OCIO", "/from/the/environment.ocio")
    node = connect(
        host.create(
            OfxImageEffectPropColourManagementStyle=f"OfxImageEffectColourManagement{style}",
            OfxImageEffectPropOCIOConfig="/show/config.ocio",
        )
    )
    node.clips["Source"].properties.set("OfxImageClipPropColourspace", source)
    node.clips["Keys"].properties.set("OfxImageClipPropColourspace", keys)
    node.render(1010, pictures(1)(1010))
    job = last_job(stand)
    assert (job.get("colorspace", [None])[0], job.get("keys_colorspace", [None])[0]) == sent
    assert f"ocio {config}" in job["parameter"]
    node["ocio"] = "/my/own.ocio"
    node.render(1010, pictures(1)(1010))
    assert "ocio /my/own.ocio" in last_job(stand)["parameter"]


# ---------------------------------------------------------------- identifiers


def test_pictures_that_the_worker_holds_are_not_sent_again(node: Effect, stand: Any) -> None:
    connect(node, pictures(11), pictures(12))
    node["key_frames"] = "1001,1041"
    node.render(1010, pictures(1)(1010))
    assert [len(found["filled"]) for found in stand.record("filled")] == [43]
    node.render(1030, pictures(1)(1030))
    assert len(stand.record("filled")) == 1


@pytest.mark.parametrize("named", [True, False])
def test_the_same_pixels_have_the_same_identifier_in_any_layout(node: Effect, stand: Any, named: bool) -> None:
    for layout in LAYOUTS:
        layout = Layout(layout.padding, layout.negative, layout.origin, named=named)
        connect(node, pictures(13 + named), pictures(15), layout)
        node.render(1010, pictures(1)(1010))
    assert len({tuple(last["job"][0]) for last in stand.record("job")}) == 1
    assert len(stand.record("filled")) == 1


def test_one_changed_bit_is_another_picture_where_the_host_names_none(node: Effect, stand: Any) -> None:
    pixels = {frame: pictures(1)(0).copy() for frame in range(1001, 1042)}
    generator = np.random.default_rng(1)
    for frame, one in pixels.items():
        bits = one.reshape(-1).view(np.uint32)
        bits[generator.integers(bits.size)] ^= np.uint32(1 << (frame % 32))
    connect(node, lambda time: pixels[int(time)], layout=Layout(named=False))
    node["key_frames"] = "1001,1041"
    node.render(1010, pixels[1010])
    assert len({line.split()[1] for line in last_job(stand)["source"]}) == 41


def test_a_host_that_names_all_images_alike_is_seen_through(node: Effect, stand: Any) -> None:
    for clip in node.clips.values():
        clip.identifier = lambda _: "the same"
    node.render(1010, pictures(1)(1010))
    job = last_job(stand)
    assert len({line.split()[1] for line in (*job["source"], *job["key"])}) == 23


def test_an_image_that_changes_while_it_is_read_fails_the_frame(host: Host, node: Effect) -> None:
    count = iter(range(1000))
    node.clips["Keys"].identifier = lambda _: f"name {next(count)}"
    assert node.render(1010, pictures(1)(1010)) is None
    assert host.complaint == "Keys at 1001 has changed while the frame was made: render it again."
    node.clips["Keys"].identifier = None
    assert node.render(1010, pictures(1)(1010)) is not None
    assert host.complaint is None


def test_a_render_at_half_size_is_of_smaller_pictures(host: Host, node: Effect, stand: Any) -> None:
    for clip in node.clips.values():
        clip.identifier = lambda time: f"frame {time}"
    full = node.render(1010, pictures(1)(1010))
    half = pictures(1, shape=(12, 18)), pictures(2, shape=(12, 18))
    connect(node, *half)
    found = node.render(1010, half[0](1010), scale=0.5)
    assert full is not None
    assert found is not None, host.complaint
    assert same(found[..., :3], half[1](1001)[..., :3])
    assert last_job(stand)["picture"][0].endswith(" 18 12 float RGBA")
