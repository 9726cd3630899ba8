"""`stpn propagate` as a person types it: exit codes, what is printed where, formats and spaces, Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio
import pytest

from stpn.plugin.cli import main
from stpn.plugin.shot import check

STPN = [sys.executable, "-c", "import sys; from stpn.plugin.cli import main; sys.exit(main())"]


@pytest.fixture
def shot(studio: Any) -> Any:
    """Plate 1001-1005, keys 1001 and 1005."""
    studio.plate()
    studio.keys()
    return studio


def write_raster(path: Path, image: np.ndarray[Any, Any]) -> None:
    """An integer picture (H, W, C), by OpenImageIO itself."""
    image = np.atleast_3d(image)
    spec = oiio.ImageSpec(image.shape[1], image.shape[0], image.shape[2], image.dtype.name)
    if path.suffix == ".dpx":
        spec.attribute("oiio:BitsPerSample", 10)
    output = oiio.ImageOutput.create(str(path))
    assert output.open(str(path), spec), output.geterror()
    assert output.write_image(image), output.geterror()
    output.close()


def read_raster(path: Path) -> np.ndarray[Any, Any]:
    """The picture (H, W, C) in the type of the file."""
    source = oiio.ImageInput.open(str(path))
    assert source is not None, oiio.geterror()
    pixels = source.read_image(source.spec().format)
    source.close()
    return np.asarray(pixels)


def to_srgb(linear: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """IEC 61966-2-1."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055)


def from_srgb(code: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """IEC 61966-2-1."""
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def codes(linear: np.ndarray[Any, Any], dtype: type) -> np.ndarray[Any, Any]:
    """Linear light as integers coded as sRGB."""
    most = np.iinfo(dtype).max
    return np.rint(np.clip(to_srgb(linear), 0, 1) * most).astype(dtype)


def test_a_shot_in_plain_words(shot: Any) -> None:
    done = shot.run("--interval", "4", "--threads", "1")
    assert done.code == 0
    assert done.out == f"5 frames: {shot.folder}/out.####.exr\n"
    *decisions, progress = done.err.splitlines()
    assert decisions == [
        "config: built-in studio-config-v5.0.0_aces-v2.1_ocio-v2.6",
        "plate: Linear Rec.709 (sRGB), chromaticities are those of Rec.709",
        "keys: Linear Rec.709 (sRGB), chromaticities are those of Rec.709",
        "cuts: none found",
        "device: cpu, there is no driver library libcuda.so.1",
    ]
    assert progress.startswith("frame 1005  5/5  ")
    assert progress.endswith(" frames/s  0:00 left")
    assert sorted(shot.contents("out.")) == [f"{frame}.exr" for frame in range(1001, 1006)]


def test_json_is_one_object_a_frame(shot: Any) -> None:
    shot.run("--frames", "1004")
    done = shot.run("--json", "--skip-existing", "--frames", "1001-1004")
    assert done.code == 0
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [(line["frame"], line["status"], line["keys"]) for line in lines] == [
        (1001, "key", [1001]),
        (1002, "carried", [1001, 1005]),
        (1003, "carried", [1001, 1005]),
        (1004, "skipped", [1001, 1005]),
    ]
    assert [line["path"] for line in lines] == [f"{shot.folder}/out.{n}.exr" for n in range(1001, 1005)]
    assert [line["confidence"] for line in lines][::3] == [1.0, None]
    assert all(0 < line["confidence"] <= 1 and line["seconds"] > 0 for line in lines[1:3])
    assert all(
        set(line) == {"frame", "path", "status", "keys", "confidence", "seconds", "notes", "error"} for line in lines
    )


def test_a_note_is_said_once_in_words_and_with_each_frame_in_json(shot: Any) -> None:
    note = "part 0: B44 as asked, lossy for all its channels"
    assert shot.run("--compression", "b44").err.count(note) == 1
    lines = shot.run("--compression", "b44", "--json").out.splitlines()
    assert [json.loads(line)["notes"] for line in lines] == [[note]] * 5


def test_a_wrong_request_is_2_and_writes_nothing(shot: Any) -> None:
    before = shot.files()
    wrong = [
        (["--frames", "1001-1007"], "expected plate frames 1006-1007, not found"),
        (["--device", "cuda"], "--device cuda: expected an NVIDIA GPU for torch"),
        (["--device", "tensorrt"], "--device tensorrt: TensorRT: expected the package tensorrt"),
        (["--colorspace", "nonsense"], "nonsense"),
        (["--output", f"{shot.folder}/new/out.####.jpg"], "expected .exr"),
        (["--method", "magic"], "invalid choice: 'magic' (choose from"),
        (["--interval", "many"], "invalid int value: 'many'"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ]
    for options, message in wrong:
        done = shot.run(*options)
        assert (done.code, done.out) == (2, "")
        assert message in done.err
        assert "Traceback" not in done.err
        assert shot.files() == before
    assert not (shot.folder / "new").exists()


def test_every_problem_has_a_line_of_its_own(shot: Any) -> None:
    done = shot.run("--device", "cuda", "--threads", "-1", "--frames", "1-3")
    assert done.err.splitlines() == [
        "stpn propagate: --threads: expected 1 or more, or 0 for all processors, got -1",
        "stpn propagate: --device cuda: expected an NVIDIA GPU for torch, "
        "there is no driver library libcuda.so.1; use --device cpu",
        f"stpn propagate: {shot.folder}/plate.####.exr: expected plate frames 1-3, not found; there are 1001-1005",
    ]


def test_a_failure_while_working_is_1_and_leaves_whole_files(shot: Any) -> None:
    # the chunk table is right, so nothing but decoding the pixels can find this
    broken = bytearray((shot.folder / "plate.1003.exr").read_bytes())
    broken[-60:] = bytes(60)
    (shot.folder / "plate.1003.exr").write_bytes(broken)
    done = shot.run("--threads", "1", "--cuts", "none")
    assert done.code == 1
    problem = done.err.splitlines()[-1]
    assert problem.startswith(f"stpn propagate: frame 1003: {shot.folder}/plate.1003.exr: ")
    assert "Traceback" not in done.err
    assert set(shot.contents("out.")) == {"1001.exr"}
    assert shot.image("out.1001.exr").shape == (*shot.shape, 3)


def test_debug_shows_where_it_went_wrong(shot: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--debug", *shot.arguments("--frames", "1-3")]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in ((["--help"], "stpn propagate"), (["propagate", "--help"], "exit codes: 0 done")):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 0
        assert words in capsys.readouterr().out


def test_skip_existing_leaves_whole_files_and_remakes_the_rest(shot: Any) -> None:
    assert shot.run("--confidence", f"{shot.folder}/sure.####.exr").code == 0
    first = shot.files()
    damaged = {"out.1001.exr": 100, "out.1002.exr": 0, "out.1003.exr": len(first["out.1003.exr"][2]) - 1}
    for name, length in damaged.items():
        (shot.folder / name).write_bytes(first[name][2][:length])
    (shot.folder / "sure.1004.exr").unlink()
    assert shot.run("--skip-existing", "--confidence", f"{shot.folder}/sure.####.exr").code == 0
    second = shot.files()
    assert {name: content for name, (_, _, content) in second.items()} == {
        name: content for name, (_, _, content) in first.items()
    }
    changed = {name for name in second if second[name] != first[name]}
    assert changed == {f"{kind}.{n}.exr" for kind in ("out", "sure") for n in range(1001, 1005)}
    assert shot.run("--skip-existing").code == 0
    assert shot.files() == second


def test_without_skip_existing_results_are_made_anew(shot: Any) -> None:
    shot.run()
    before = shot.files()["out.1003.exr"]
    shot.run()
    after = shot.files()["out.1003.exr"]
    assert before[0] != after[0] or before[1] != after[1]
    assert before[2] == after[2]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16], ids=["8 bits", "16 bits"])
def test_png_keys_for_an_exr_plate(studio: Any, dtype: type) -> None:
    studio.plate()
    for frame in (1001, 1005):
        write_raster(studio.folder / f"key.{frame}.png", codes(studio.rgb(frame), dtype))
    assert studio.run("--keys", f"{studio.folder}/key.####.png", "--keys-colorspace", "sRGB - Texture").code == 0
    given = from_srgb(read_raster(studio.folder / "key.1001.png") / np.iinfo(dtype).max)
    np.testing.assert_allclose(studio.image("out.1001.exr"), given, rtol=1e-3, atol=1e-5)
    assert {pixels.dtype for pixels in studio.pixels("out.1003.exr").values()} == {np.dtype(np.float16)}
    assert studio.luminance_error(studio.image("out.1003.exr"), studio.pixels("plate.1003.exr")["R"]) < 1e-3
    assert np.abs(studio.image("out.1003.exr") - studio.rgb(1003))[6:-6, 10:-10].mean() < 0.01


def png_shot(studio: Any, grey: bool) -> None:
    studio.exposure = 0.25  # nothing may exceed 1 here
    for frame in range(1001, 1006):
        image = codes(np.repeat(studio.light(frame)[..., None], 1 if grey else 3, axis=2), np.uint16)
        write_raster(studio.folder / f"plate.{frame}.png", image)
    for frame in (1001, 1005):
        write_raster(studio.folder / f"key.{frame}.png", codes(studio.rgb(frame), np.uint16))


@pytest.mark.parametrize("grey", [False, True], ids=["RGB", "one channel"])
def test_a_png_plate_to_png(studio: Any, grey: bool) -> None:
    png_shot(studio, grey)
    folder = studio.folder
    done = studio.run(*(f"--{name}={folder}/{stem}.####.png" for name, stem in studio._files.items()))
    assert done.code == 0
    assert (read_raster(folder / "out.1001.png") == read_raster(folder / "key.1001.png")).all()
    result = read_raster(folder / "out.1003.png")
    assert (result.dtype, result.shape) == (np.uint16, (*studio.shape, 3))
    linear = from_srgb(result / 65535)
    np.testing.assert_allclose(linear @ studio.weights(studio.rec709), studio.light(1003), rtol=2e-3, atol=1e-4)
    assert np.abs(linear - studio.rgb(1003))[6:-6, 10:-10].mean() < 0.01


def test_a_png_plate_to_exr_is_scene_linear_light(studio: Any) -> None:
    png_shot(studio, grey=False)
    folder = studio.folder
    assert studio.run(f"--plate={folder}/plate.####.png", f"--keys={folder}/key.####.png").code == 0
    given = from_srgb(read_raster(folder / "key.1001.png") / 65535)
    np.testing.assert_allclose(studio.image("out.1001.exr"), given, rtol=1e-3, atol=1e-5)
    light = from_srgb(read_raster(folder / "plate.1003.png")[..., 0] / 65535)
    assert studio.luminance_error(studio.image("out.1003.exr"), light) < 1e-3
    found = studio.header("out.1003.exr")["chromaticities"]
    np.testing.assert_allclose([float(number) for number in found], studio.rec709, atol=1e-6)


def test_keys_in_another_space_than_the_plate(studio: Any) -> None:
    studio.plate(chromaticities=studio.ap1, dtype=np.float32)
    studio.keys(dtype=np.float32)
    assert studio.run().code == 0
    given, found = studio.image("key.1001.exr"), studio.image("out.1001.exr")
    # the white points differ, so grey comes out grey and luminance is kept up to the adaptation
    to_ap1, *_ = np.linalg.lstsq(given.reshape(-1, 3), found.reshape(-1, 3), rcond=None)
    np.testing.assert_allclose(to_ap1.sum(axis=0), 1, atol=1e-3)
    np.testing.assert_allclose(to_ap1[1], [0.3395, 0.9164, 0.1096], atol=2e-3)  # Rec.709's green in AP1
    light = studio.pixels("plate.1003.exr")["R"]
    result = studio.image("out.1003.exr")
    assert studio.luminance_error(result, light, studio.ap1) < 1e-5
    truth = studio.rgb(1003) @ to_ap1
    truth *= (light / (truth @ studio.weights(studio.ap1)))[..., None]
    grey = np.abs(light[..., None] - truth)[6:-6, 10:-10].mean()
    assert np.abs(result - truth)[6:-6, 10:-10].mean() < 0.1 * grey


def test_a_dpx_plate_in_a_camera_log(studio: Any) -> None:
    wide_gamut = (0.684, 0.313, 0.221, 0.848, 0.0861, -0.102, 0.3127, 0.329)

    def log_c3(linear: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        # ARRI, LogC3 at EI 800
        return np.where(
            linear > 0.010591, 0.247190 * np.log10(np.maximum(5.555556 * linear + 0.052272, 1e-9)) + 0.385537,
            5.367655 * linear + 0.092809,
        )  # fmt: skip

    for frame in range(1001, 1006):
        image = np.repeat(log_c3(studio.light(frame))[..., None], 3, axis=2)
        write_raster(studio.folder / f"plate.{frame}.dpx", np.rint(image * 65535).astype(np.uint16))
    for frame in (1001, 1005):
        write_raster(
            studio.folder / f"key.{frame}.dpx", np.rint(log_c3(studio.rgb(frame, wide_gamut)) * 65535).astype(np.uint16)
        )
    space = ["--colorspace", "ARRI LogC3 (EI800)", "--keys-colorspace", "ARRI LogC3 (EI800)"]
    files = [f"--{name}={studio.folder}/{stem}.####.dpx" for name, stem in studio._files.items()]
    assert studio.run(*files, *space).code == 0
    assert (read_raster(studio.folder / "out.1001.dpx") == read_raster(studio.folder / "key.1001.dpx")).all()
    result = read_raster(studio.folder / "out.1003.dpx") / 65535
    truth = log_c3(studio.rgb(1003, wide_gamut))
    assert np.abs(result - truth)[6:-6, 10:-10].mean() < 0.01
    assert studio.run(*files[:2], *space).code == 0
    assert np.abs(studio.image("out.1003.exr") - studio.rgb(1003, wide_gamut))[6:-6, 10:-10].mean() < 0.01


def test_working_in_a_log_curve(shot: Any) -> None:
    shot.exposure = 50.0
    shot.plate()
    shot.keys()
    assert shot.run("--working", "ACEScct").code == 0
    assert shot.luminance_error(shot.image("out.1003.exr"), shot.pixels("plate.1003.exr")["R"]) < 1e-3
    truth = shot.rgb(1003)
    assert np.abs(shot.image("out.1003.exr") - truth)[6:-6, 10:-10].mean() < 0.05 * truth.mean()


def test_the_paper_method_runs(shot: Any) -> None:
    assert shot.run("--method", "stpn", "--confidence", f"{shot.folder}/sure.####.exr").code == 0
    assert shot.luminance_error(shot.image("out.1003.exr"), shot.pixels("plate.1003.exr")["R"]) < 1e-3
    sure = shot.pixels("sure.1003.exr")["Y"]
    assert 0 <= sure.min() < sure.max() <= 1


def test_exit_codes_of_the_real_command(shot: Any) -> None:
    done = subprocess.run([*STPN, *shot.arguments("--frames", "1001")], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, f"1 frames: {shot.folder}/out.####.exr\n")
    wrong = subprocess.run([*STPN, *shot.arguments("--frames", "1-3")], capture_output=True, text=True, timeout=120)
    assert (wrong.returncode, wrong.stdout) == (2, "")


def test_ctrl_c_while_the_request_is_checked(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(request: object) -> None:
        raise KeyboardInterrupt

    before = shot.files()
    monkeypatch.setattr("stpn.plugin.shot.check", interrupted)
    done = shot.run()
    assert (done.code, done.err) == (130, "stpn propagate: cancelled\n")
    assert shot.files() == before


def test_ctrl_c_that_a_library_swallows_still_ends_it(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def swallowing(request: Any) -> Any:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        return check(request)

    before = shot.files()
    monkeypatch.setattr("stpn.plugin.shot.check", swallowing)
    done = shot.run()
    assert (done.code, done.err) == (130, "stpn propagate: cancelled\n")
    assert shot.files() == before


def test_ctrl_c_leaves_whole_files_only(studio: Any) -> None:
    studio.shape = (96, 128)
    frames = range(1, 61)
    studio.plate(frames)
    studio.keys(range(1, 61, 10))
    process = subprocess.Popen(
        [*STPN, *studio.arguments("--threads", "2", "--json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    reported = [json.loads(process.stdout.readline()) for _ in range(4)]
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - start < 30
    assert said.splitlines()[-1] == "stpn propagate: cancelled; the frames that are there are whole"
    there = {path.name for path in studio.folder.iterdir() if not path.name.startswith(("plate.", "key."))}
    assert there >= {Path(line["path"]).name for line in reported}
    assert 4 <= len(there) < 60
    assert all(name.startswith("out.") and name.endswith(".exr") for name in there), there
    for name in there:
        assert studio.image(name).shape == (96, 128, 3)
    finished = studio.render(skip_existing=True)
    assert {f.frame for f in finished if f.status == "skipped"} == {int(name[4:8]) for name in there}
    resumed = studio.contents("out.")
    studio.render(output="again.####.exr", frames="1-15")
    assert studio.contents("again.").items() <= resumed.items()
