"""The pixels that Blender's compositor makes of the node: those that `stpn propagate` writes, bit for bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from blender_shots import FIRST, LAST, START, make_shots
from blender_told import VERSIONS, Told, same_color, tell

from stpn.ocio.plate import read_plate


@pytest.fixture(scope="module", params=VERSIONS)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What was seen in Blender."""
    return tell(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def by_command(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same shot by `stpn propagate` alone, told to use the OCIO config that Blender uses."""
    folder = tmp_path_factory.mktemp("command")
    make_shots(folder)
    command = [
        sys.executable, "-c", "import sys; from stpn.plugin.cli import main; sys.exit(main(sys.argv[1:]))",
        "propagate", "--plate", str(folder / "plate.####.exr"), "--keys", str(folder / "keys.####.exr"),
        "--key-frames", f"{FIRST},{LAST}", "--method", "flow",
        "--ocio", told["color"]["config"],
        "--output", str(folder / "result.####.exr"), "--confidence", str(folder / "confidence.####.exr"),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_source_passes_through_before_anything_is_made(told: Told) -> None:
    assert told["color"]
    for frame in range(FIRST, LAST + 1):
        same_color(told.rendered("before", START + frame - FIRST), told.file(f"shots/plate.{frame}.exr"))
        sure = told.rendered("before", START + frame - FIRST, "confidence")
        assert all((values == 0).all() for name, values in sure.items() if name != "A")


def test_blender_shows_what_the_command_writes(told: Told, by_command: Path) -> None:
    seen = told["color"]
    assert (seen["ended"], seen["progress"]) == (["FINISHED"], 1.0)
    for frame in range(FIRST, LAST + 1):
        name = f"result.{frame}.exr"
        assert (told.folder / "results" / name).read_bytes() == (by_command / name).read_bytes()
        shown = told.rendered("after", START + frame - FIRST)
        same_color(shown, told.file(f"results/{name}"))
        assert (shown["A"] == 1.0).all()
        sure = told.rendered("after", START + frame - FIRST, "confidence")
        made = told.file(f"results/confidence.{frame}.exr")["Y"]
        assert np.array_equal(made, read_plate(by_command / f"confidence.{frame}.exr").pixels("Y"))
        assert all(np.array_equal(values, made.astype(np.float32)) for name, values in sure.items() if name != "A")
    assert not np.array_equal(told.rendered("after", START + 2)["R"], told.rendered("before", START + 2)["R"])


def test_keys_come_out_bit_for_bit(told: Told) -> None:
    assert told["color"]
    for frame in (FIRST, LAST):
        same_color(told.rendered("after", START + frame - FIRST), told.file(f"shots/keys.{frame}.exr"))


def test_result_plays_as_the_source_does(told: Told) -> None:
    for name, file in (("Result", "result"), ("Confidence", "confidence")):
        seen = told["color"][name]
        assert seen["path"].endswith(f"results/{file}.{FIRST}.exr")
        assert (seen["frame_start"], seen["frame_duration"], seen["frame_offset"]) == (START, 5, FIRST - 1)
        assert (seen["use_cyclic"], seen["use_auto_refresh"], seen["source"]) == (False, True, "SEQUENCE")
    assert told["color"]["Result"]["colorspace"] == "Linear Rec.709"
    assert told["color"]["Confidence"]["colorspace"] == "Non-Color"
    for after in (1, 2):  # the last file stays, as that of the Source
        same_color(told.rendered("after", START + LAST - FIRST + after), told.file(f"results/result.{LAST}.exr"))


def test_part_of_the_range(told: Told) -> None:
    seen = told["part"]
    assert seen["files"] == [f"{kind}.{frame}.exr" for kind in ("confidence", "result") for frame in (1002, 1003)]
    assert (seen["frame_start"], seen["frame_duration"], seen["frame_offset"]) == (START + 1, 2, FIRST)
    for frame in range(FIRST, LAST + 1):
        made = f"part/STPN Propagate/result.{frame}.exr" if frame in (1002, 1003) else f"shots/plate.{frame}.exr"
        same_color(told.rendered("part_rendered", START + frame - FIRST), told.file(made))


def test_cyclic_source(told: Told) -> None:
    seen = told["cyclic"]
    assert (seen["frame_start"], seen["frame_duration"], seen["use_cyclic"]) == (START, 5, True)
    for frame in range(START - 2, START + 8):
        made = f"cyclic/STPN Propagate/result.{FIRST + (frame - START) % 5}.exr"
        same_color(told.rendered("cyclic_rendered", frame), told.file(made))


def test_mix(told: Told) -> None:
    assert told["color"]
    for frame in (FIRST, FIRST + 1):
        source, result = told.file(f"shots/plate.{frame}.exr"), told.file(f"results/result.{frame}.exr")
        mixed = told.rendered("mixed", START + frame - FIRST)
        for name in "RGB":
            expected = source[name].astype(np.float32) * 0.75 + result[name].astype(np.float32) * 0.25
            np.testing.assert_allclose(mixed[name], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("matte", ["matte_alpha", "matte_grey"])
def test_matte_is_alpha_or_the_first_channel(told: Told, matte: str) -> None:
    assert told["color"]
    frame = FIRST + 1
    weight = told.file(f"shots/{matte}.{frame}.exr")["A" if matte == "matte_alpha" else "R"].astype(np.float32)
    source, result = told.file(f"shots/plate.{frame}.exr"), told.file(f"results/result.{frame}.exr")
    shown = told.rendered(matte, START + 1)
    for name in "RGB":
        expected = source[name].astype(np.float32) * (1 - weight) + result[name].astype(np.float32) * weight
        np.testing.assert_allclose(shown[name], expected, rtol=1e-5, atol=1e-6)


def test_output_confidence(told: Told) -> None:
    assert told["color"]
    for frame in (FIRST, FIRST + 1):
        shown = told.rendered("as_confidence", START + frame - FIRST)
        made = told.file(f"results/confidence.{frame}.exr")["Y"]
        for name in "RGB":
            assert np.array_equal(shown[name], made.astype(np.float32))


def test_second_run_takes_the_place_of_the_first(told: Told) -> None:
    seen = told["again"]
    assert seen["first"]["ended"] == seen["second"]["ended"] == ["FINISHED"]
    assert seen["images"] == 4, "Source, Keys, result and confidence: a second run adds none"
    one, two = (told.rendered(folder, START + 1) for folder in ("first_run", "second_run"))
    assert not np.array_equal(one["R"], two["R"]), "Blender must read the files anew"
    same_color(two, told.file(f"again/STPN Propagate/result.{FIRST + 1}.exr"))


def test_copy_of_the_node_is_separate(told: Told) -> None:
    seen = told["again"]
    assert seen["users"] == [1, 1]
    assert len(set(seen["played"])) == 2, "a run of the copy must not change what the original plays"
    assert seen["mixes"] == [1.0, 0.5]


@pytest.mark.parametrize(("extension", "colorspace"), [("exr", "Linear Rec.709"), ("png", "sRGB")])
def test_eight_bit_plate(told: Told, extension: str, colorspace: str) -> None:
    seen = told["other_format"][extension]
    assert (seen["ended"], seen["said"], seen["colorspace"]) == (["FINISHED"], "", colorspace)
    shown = told.rendered(f"from_png_to_{extension}_rendered", START + 1)
    made = told.file(f"from_png_to_{extension}/result.{FIRST + 1}.{extension}")
    if extension == "exr":
        same_color(shown, made)
        return
    for name in "RGB":  # shown is light, the file holds sRGB codes of 8 bits
        code = made[name].astype(np.float32) / np.iinfo(made[name].dtype).max
        light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
        np.testing.assert_allclose(shown[name], light, atol=2e-3)


@pytest.mark.parametrize("kind", ["png", "exr"])
def test_mattes_are_shown_grey(told: Told, kind: str) -> None:
    seen = told["mattes"][kind]
    assert (seen["ended"], seen["said"], seen["colorspace"]) == (["FINISHED"], "", "Non-Color")
    shown = told.rendered(f"mattes_{kind}_rendered", START + 1)
    made = told.file(f"mattes_{kind}/STPN Propagate/result.{FIRST + 1}.exr")
    matte = made["A" if "A" in made else "R"].astype(np.float32)
    assert 0 < matte.mean() < 1
    for name in "RGB":
        assert np.array_equal(shown[name], matte)


def test_layer_of_channels(told: Told) -> None:
    seen = told["layers"]
    assert (seen["ended"], seen["said"]) == (["FINISHED"], "")
    made = told.file(f"layers/STPN Propagate/result.{FIRST + 1}.exr")["depth.Z"]
    assert made.min() > 5
    for name in "RGB":
        assert np.array_equal(told.rendered("layers_rendered", START + 1)[name], made)
