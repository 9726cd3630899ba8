"""What a result says it is made of: the same wherever and however it is made, other as soon as anything differs."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import PyOpenColorIO as ocio
import pytest

from stpn.ocio.digest import ATTRIBUTE, content_digest, recorded
from stpn.ocio.plate import inspect_plate, new_plate, write_plate
from stpn.plugin.finished import result_digest
from stpn.plugin.request import Request
from stpn.plugin.result_digest import LEFT_OUT, described
from stpn.plugin.shot import check

ALL = [1001, 1002, 1003, 1004, 1005]
CONFIG = """ocio_profile_version: 2
search_path: .
roles: {scene_linear: lin, default: lin}
displays:
  d:
    - !<View> {name: v, colorspace: log}
colorspaces:
  - !<ColorSpace> {name: lin, encoding: scene-linear}
  - !<ColorSpace>
    name: log
    encoding: log
    to_scene_reference: !<FileTransform> {src: curve.spi1d}
"""


@pytest.fixture
def shot(studio: Any) -> Any:
    studio.plate()
    studio.keys()
    return studio


def said(studio: Any, name: str) -> str:
    found = recorded(inspect_plate(studio.folder / name))
    assert found is not None, f"{name} says nothing"
    return found[0]


def remade(studio: Any, **options: Any) -> list[int]:
    """The frames that --skip-existing makes again."""
    done = studio.render(**{"method": "flow", "skip_existing": True, **options})
    return [frame.frame for frame in done if frame.status != "skipped"]


def digests(studio: Any, **options: Any) -> dict[int, str | None]:
    """What every frame would be made of."""
    shot = check(studio.request(**{"method": "flow", "cuts": "none", **options}))
    spans = {frame: span for span in shot.spans() for frame in span.targets}
    return {frame: result_digest(shot, frame, spans.get(frame)) for frame in shot.frames}


def differing(before: dict[int, str | None], after: dict[int, str | None]) -> list[int]:
    assert before.keys() == after.keys()
    return [frame for frame, digest in before.items() if digest != after[frame]]


def test_nothing_is_made_again_where_nothing_changed(shot: Any) -> None:
    shot.render(method="flow", confidence="sure.####.exr")
    before = shot.files()
    assert remade(shot, confidence="sure.####.exr") == []
    assert remade(shot, threads=1, cuts="none", key_frames="1001,1005") == []
    assert shot.files() == before
    assert said(shot, "out.1003.exr") != said(shot, "sure.1003.exr")
    assert len({said(shot, f"out.{frame}.exr") for frame in range(1001, 1006)}) == 5


def test_folders_times_and_names_do_not_count(shot: Any, tmp_path: Path) -> None:
    shot.render(method="flow")
    there = tmp_path / "elsewhere"
    there.mkdir()
    for frame in range(1001, 1006):
        shutil.copyfile(tmp_path / f"plate.{frame}.exr", there / f"b_{frame}.exr")
        os.utime(there / f"b_{frame}.exr", (10**9, 10**9))
    shot.render(method="flow", plate="elsewhere/b_####.exr", output="elsewhere/other.####.exr")
    assert shot.contents("elsewhere/other.") == shot.contents("out.")


def test_a_file_that_says_so_but_is_another_is_made_again(shot: Any) -> None:
    shot.render(method="flow")
    good = shot.contents("out.")
    (shot.folder / "out.1002.exr").write_bytes(good["1003.exr"])
    (shot.folder / "out.1003.exr").write_bytes(good["1003.exr"][:-1])
    data = bytearray(good["1004.exr"])
    data[-9] ^= 1
    (shot.folder / "out.1004.exr").write_bytes(data)
    assert remade(shot) == [1002, 1003, 1004]
    assert shot.contents("out.") == good


def touch_plate(studio: Any, frame: int) -> None:
    """A pixel of a plate frame changes, its size and time stay."""
    path = studio.folder / f"plate.{frame}.exr"
    before = path.stat()
    pixels = {name: array.copy() for name, array in studio.pixels(path.name).items()}
    pixels["R"][0, 0] *= np.float16(1.5)
    studio.write(path.name, pixels)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def touch_key(studio: Any, frame: int) -> None:
    studio.write(f"key.{frame}.exr", studio.channels(studio.rgb(frame) * 1.1))


@pytest.fixture
def long_shot(studio: Any) -> Any:
    """Keys 3 and 6 among frames 1-9."""
    studio.plate(range(1001, 1010))
    studio.keys((1003, 1006))
    return studio


@pytest.mark.parametrize(
    ("change", "frame", "concerned"),
    [
        (touch_plate, 1001, [1001]),
        (touch_plate, 1002, [1001, 1002]),
        (touch_plate, 1003, [1001, 1002, 1003, 1004, 1005]),
        (touch_plate, 1004, [1004, 1005]),
        (touch_plate, 1006, [1004, 1005, 1006, 1007, 1008, 1009]),
        (touch_plate, 1008, [1008, 1009]),
        (touch_key, 1003, [1001, 1002, 1003, 1004, 1005]),
        (touch_key, 1006, [1004, 1005, 1006, 1007, 1008, 1009]),
    ],
)
def test_what_takes_something_from_a_changed_file_is_made_again(
    long_shot: Any, change: Callable[[Any, int], None], frame: int, concerned: list[int]
) -> None:
    before = digests(long_shot)
    change(long_shot, frame)
    assert differing(before, digests(long_shot)) == concerned


def test_what_is_made_again_is_what_a_fresh_run_makes(long_shot: Any) -> None:
    long_shot.render(method="flow", cuts="none")
    touch_plate(long_shot, 1002)
    assert remade(long_shot, cuts="none") == [1001, 1002]
    long_shot.render(method="flow", cuts="none", output="fresh.####.exr")
    assert long_shot.contents("fresh.") == long_shot.contents("out.")


def test_the_paper_method_takes_keys_and_the_frame_alone(long_shot: Any) -> None:
    before = digests(long_shot, method="stpn")
    touch_plate(long_shot, 1004)
    assert differing(before, digests(long_shot, method="stpn")) == [1004]


def test_another_key_concerns_the_frames_that_it_serves(long_shot: Any) -> None:
    before = digests(long_shot)
    long_shot.keys((1008,))
    assert differing(before, digests(long_shot)) == [1007, 1008, 1009]


def test_a_cut_concerns_the_frames_whose_keys_it_takes(long_shot: Any) -> None:
    assert differing(digests(long_shot), digests(long_shot, cuts="1005")) == [1004, 1005]


@pytest.mark.parametrize(
    "options",
    [
        {"method": "stpn"},
        {"working": "ACEScct"},
        {"colorspace": "ACEScg"},
        {"keys_colorspace": "ACEScg"},
        {"compression": "piz"},
        {"keys_used": "previous"},
    ],
    ids=str,
)
def test_another_request_makes_it_again(shot: Any, options: dict[str, Any]) -> None:
    assert differing(digests(shot, frames="1003"), digests(shot, frames="1003", **options)) == [1003]


def test_other_weights_make_it_again(shot: Any, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    from stpn.engine.weights import shipped

    with safe_open(shipped("aligned"), "np") as file:
        tensors = {name: file.get_tensor(name).copy() for name in file.keys()}  # noqa: SIM118 - no mapping
        metadata = file.metadata()
    name = next(name for name, value in tensors.items() if value.ndim == 1)
    tensors[name][0] += 1e-3
    save_file(tensors, tmp_path / "mine.safetensors", metadata)
    shutil.copyfile(shipped("aligned"), tmp_path / "copy.safetensors")
    plain, copy, mine = (
        digests(shot, method="aligned", frames="1001,1003", weights=weights and str(tmp_path / weights))
        for weights in (None, "copy.safetensors", "mine.safetensors")
    )
    assert differing(plain, copy) == []
    assert differing(plain, mine) == [1003]


def test_the_device_counts_where_there_is_a_network(shot: Any) -> None:
    for method, differs in (("flow", False), ("aligned", True)):
        found = check(shot.request(method=method, frames="1003"))
        (span,) = found.spans()
        weights = Path(__file__) if method == "aligned" else None
        devices = {found.digests.carried(1003, span, (), weights, device) for device in ("cpu", "cuda")}
        assert (len(devices) == 2) == differs


def write_config(folder: Path, gain: float) -> str:
    folder.mkdir(exist_ok=True)
    lines = "\n".join(f"{(x / 8) ** 2 * gain:.6f}" for x in range(9))
    (folder / "curve.spi1d").write_text(f"Version 1\nFrom 0 1\nLength 9\nComponents 1\n{{\n{lines}\n}}\n")
    (folder / "config.ocio").write_text(CONFIG)
    ocio.ClearAllCaches()
    return str(folder / "config.ocio")


def test_what_a_config_computes_counts_and_not_where_it_lies(shot: Any, tmp_path: Path) -> None:
    spaces = {"colorspace": "log", "keys_colorspace": "log", "frames": "1003"}
    first, copy = (digests(shot, ocio=write_config(tmp_path / name, 1.0), **spaces) for name in "ab")
    assert differing(first, copy) == []
    # the config's own text is the same, one of its LUTs is not
    assert differing(first, digests(shot, ocio=write_config(tmp_path / "b", 1.1), **spaces)) == [1003]


def test_a_flash_counts_for_the_frames_that_motion_takes_through_it(long_shot: Any) -> None:
    found = check(long_shot.request(method="flow", cuts="none"))
    for span in found.spans():
        for frame in span.targets:
            plain, looked = (found.digests.carried(frame, span, flashes, None, "cpu") for flashes in ((), (1004,)))
            assert (plain != looked) == (frame in (1004, 1005))


def test_an_input_that_a_run_made_does_not_pass_its_digest_on(shot: Any) -> None:
    shot.render(method="flow", output="plate2.####.exr")
    shot.render(method="flow", plate="plate2.####.exr", output="again.####.exr")
    assert said(shot, "again.1003.exr") != said(shot, "plate2.1003.exr")
    assert remade(shot, plate="plate2.####.exr", output="again.####.exr") == []


def test_a_plate_that_changes_while_it_is_rendered_is_made_again(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import stpn.plugin.frame_source as frame_source

    honest = frame_source.read_plate

    def changing(path: Path) -> Any:
        if path.name == "plate.1003.exr" and not (shot.folder / "changed").exists():
            (shot.folder / "changed").touch()
            touch_plate(shot, 1003)
        return honest(path)

    monkeypatch.setattr(frame_source, "read_plate", changing)
    shot.render(method="flow", cuts="none")
    assert (shot.folder / "changed").exists()
    assert remade(shot, cuts="none") == [1002, 1003, 1004]
    assert remade(shot, cuts="none") == []


def test_each_file_is_digested_once_a_run(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def spied(path: Path) -> str:
        asked.append(path.name)
        return content_digest(path)

    monkeypatch.setattr("stpn.ocio.digest.content_digest", spied)
    shot.render(method="flow", confidence="sure.####.exr", skip_existing=True)
    assert sorted(asked) == sorted([f"plate.{n}.exr" for n in range(1001, 1006)] + ["key.1001.exr", "key.1005.exr"])


def test_every_field_that_is_left_out_is_meant_to_be() -> None:
    fields = {field.name for field in dataclasses.fields(Request)}
    assert fields - LEFT_OUT == {
        "property", "method", "working", "channels", "channels_curve", "mask_labels", "mask_output", "ldr_curve",
        "hdr_colorspace", "compression",
    }, "a new field of a request: does it change pixels or headers? If not, name it in LEFT_OUT"  # fmt: skip


def test_the_attribute_is_the_only_one_that_is_added(shot: Any) -> None:
    shot.render(method="flow", frames="1003")
    before, after = (OpenEXR.File(str(shot.folder / f"{name}.1003.exr")).header() for name in ("plate", "out"))
    assert after.keys() - before.keys() == {ATTRIBUTE}
    assert before.keys() <= after.keys()


@pytest.mark.parametrize(("suffix", "again"), [(".png", []), (".tif", []), (".dpx", []), (".jpg", []), (".hdr", ALL)])
def test_results_of_other_formats_are_left_too_where_they_can_say_so(
    shot: Any, suffix: str, again: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    for frame in ALL:
        light = shot.channels(np.clip(shot.light(frame), 0, 1) ** 0.45, np.float32)
        write_plate(shot.folder / f"p.{frame}{suffix}", new_plate(light))
    files = {"plate": f"p.####{suffix}", "output": f"o.####{suffix}", "colorspace": "sRGB - Texture"}
    first = shot.render(method="flow", **files)
    said = [note for frame in first for note in frame.notes if "does not say what made it" in note]
    assert bool(said) == (suffix == ".hdr")
    before = shot.contents("o.")
    assert remade(shot, **files) == again
    assert shot.contents("o.") == before
    broken = shot.folder / f"o.1002{suffix}"
    broken.write_bytes(broken.read_bytes()[:-3])
    assert 1002 in remade(shot, **files)
    assert shot.contents("o.") == before


def test_what_cannot_be_told_is_no_digest() -> None:
    with pytest.raises(TypeError, match="expected something whose computation can be told, got object"):
        list(described(object()))
