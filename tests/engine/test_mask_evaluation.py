"""Measuring masks and soft mattes."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stpn.engine.evaluation import mask, soft_mattes
from stpn.engine.evaluation.clips import ClipError, Source
from stpn.engine.evaluation.methods import Method, MethodError

Array = np.ndarray[Any, Any]


@pytest.fixture
def sequence(tmp_path: Path) -> Source:
    """A square that moves by two pixels a frame, as pictures and masks."""
    folder = tmp_path / "square"
    (folder / "frames").mkdir(parents=True)
    (folder / "masks").mkdir()
    noise = cv2.resize(np.random.default_rng(0).integers(0, 90, (9, 12, 3)).astype(np.uint8), (96, 72))
    for frame in range(4):
        picture, truth = noise.copy(), np.zeros((72, 96), np.uint8)
        box = slice(20, 44), slice(20 + 2 * frame, 50 + 2 * frame)
        picture[box] = cv2.resize(noise, (30, 24)) // 2 + np.array([10, 60, 200], np.uint8)
        truth[box] = 255
        cv2.imwrite(str(folder / "frames" / f"{frame:05d}.png"), picture)
        cv2.imwrite(str(folder / "masks" / f"{frame:05d}.png"), truth)
    return Source("square", folder)


def test_methods_are_measured_beside_baselines(sequence: Source) -> None:
    plan = mask.plan([sequence], [mask.parse_method("flow")], ["copy", "grabcut"])
    assert tuple(plan.labels) == ("flow", "copy", "grabcut")
    (job,) = plan.jobs["all frames"]
    numbers = mask.measure(job)
    assert numbers.keys() == {"flow", "copy", "grabcut"}
    assert numbers["flow"]["J"] is not None
    assert numbers["flow"]["J"] > 90
    assert numbers["flow"]["J"] > (numbers["copy"]["J"] or 0) + 5
    assert plan.means({"all frames": [numbers]})["all frames"]["flow"] == numbers["flow"]


def test_names_of_methods(tmp_path: Path) -> None:
    assert mask.parse_method("flow") == Method("flow", "flow")
    with pytest.raises(MethodError, match="expected one of aligned, adapted, flow, seg_t, seg_ts"):
        mask.parse_method("stpn")
    with pytest.raises(MethodError, match="that is a --baseline"):
        mask.parse_method("grabcut")
    with pytest.raises(MethodError, match="a label other than"):
        mask.parse_method("flow=x.safetensors")
    (tmp_path / "no.safetensors").write_bytes(b"nothing")
    with pytest.raises(MethodError, match=r"no\.safetensors"):
        mask.parse_method(f"mine={tmp_path / 'no.safetensors'}")


def test_weights_of_another_property_are_refused() -> None:
    from stpn.engine.weights import shipped

    with pytest.raises(MethodError, match="expected weights of MaskRefiner or MaskSegmentation"):
        mask.parse_method(f"mine={shipped('color')}")


@pytest.mark.parametrize("label", ["aligned", "seg_t", "seg_ts"])
def test_shipped_weights_are_measured(sequence: Source, label: str) -> None:
    (job,) = mask.plan([sequence], [mask.parse_method(label)], []).jobs["all frames"]
    found = mask.measure(job)[label]["J"]
    assert found is not None
    assert found > 50


@pytest.fixture
def clip(sequence: Source) -> Source:
    """The pictures of the sequence alone."""
    return Source("clip", sequence.path / "frames")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    with tarfile.open(folder / "photos-000.tar", "w") as tar:
        for number in range(12):
            picture = cv2.resize(rng.integers(0, 255, (8, 11, 3)).astype(np.uint8), (120, 90))
            content = cv2.imencode(".jpg", picture)[1].tobytes()
            info = tarfile.TarInfo(f"{number:03d}.jpg")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return folder


def test_soft_mattes_are_measured(clip: Source, photos: Path) -> None:
    plan = soft_mattes.plan([clip], photos, [soft_mattes.parse_method("flow")], ["copy", "flow_one"])
    assert list(plan.jobs) == ["K=10", "K=20", "first frame"]
    found = soft_mattes.measure(plan.jobs["K=10"][0])
    alone = soft_mattes.plan([clip], photos, [], ["copy"]).jobs["first frame"][0]
    near, far = found["copy"]["sad"], soft_mattes.measure(alone)["copy"]["sad"]
    assert near is not None
    assert far is not None
    assert 0 < near < far
    assert found.keys() == {"flow", "copy", "flow_one"}


def test_a_shot_follows_from_its_number(clip: Source, photos: Path) -> None:
    first, again, other = (soft_mattes.shot(clip, number, photos) for number in (0, 0, 1))
    assert np.array_equal(first.mattes, again.mattes)
    assert not np.array_equal(first.mattes, other.mattes)


def test_a_folder_without_photographs_is_told(clip: Source, tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="expected tar files of photographs"):
        soft_mattes.shot(clip, 0, tmp_path / "nothing")
