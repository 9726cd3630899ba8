"""The evaluation against the independent yardstick, on sources that nothing was trained on."""

from __future__ import annotations

import importlib.util
import json
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stpn.engine.evaluation import panorama
from stpn.engine.evaluation.baselines import BASELINES
from stpn.engine.evaluation.clips import Source, find_sources, read_frames
from stpn.engine.evaluation.color import Job, measure
from stpn.engine.evaluation.metrics import boundary, hdr_errors, jaccard

DECIBELS = 0.001
"""What means may differ by: the baselines do the same steps, only their sums may round otherwise."""

FRAMES = 23  # a whole span of 20, and the key after it alone


@pytest.fixture(scope="module")
def yardstick(shared: Path) -> Any:
    spec = importlib.util.spec_from_file_location("yardstick", shared / "yardstick/yardstick.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def short_clip(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first frames of a validation clip, half as large."""
    folder = tmp_path_factory.mktemp("clips") / "bikes_b"
    folder.mkdir()
    video = cv2.VideoCapture(str(shared / "data/clips/bikes_b.mp4"))
    for number, (found, frame) in enumerate(islice(iter(video.read, (False, None)), FRAMES)):
        assert found
        cv2.imwrite(str(folder / f"{number:05d}.png"), cv2.resize(frame, None, fx=0.5, fy=0.5))
    return folder


def test_the_list_of_validation_clips_is_found(shared: Path, yardstick: Any) -> None:
    listing = shared / "yardstick/validation.json"
    for prop, paths in json.loads(listing.read_text()).items():
        found = find_sources([listing], prop)
        assert [str(source.path.resolve()) for source in found] == [str(Path(p)) for p in yardstick.validation(prop)]
        assert [source.name for source in found] == [yardstick.title(path) for path in paths]


def test_frames_are_those_of_the_yardstick(shared: Path, yardstick: Any) -> None:
    clip = shared / "data/clips/bikes_b.mp4"
    np.testing.assert_array_equal(read_frames(clip)[..., ::-1], np.stack(yardstick.load_clip(clip)))


def test_baselines_score_as_those_of_the_yardstick(yardstick: Any, short_clip: Path) -> None:
    names = {"copy": "copy", "flow_one": "flow", "flow_both": "flow_both"}
    _, theirs = yardstick.baseline_color((short_clip, [20], list(names.values())))
    assert set(names) == set(BASELINES)
    for own in measure(Job(Source("clip", short_clip), 20, BASELINES, [])):
        their = theirs[f"{names[own.label]}@20"]
        assert own.psnr == pytest.approx(their["psnr"], abs=DECIBELS), own.label
        assert own.rmse == pytest.approx(their["rmse"], rel=1e-4), own.label


def test_a_shot_in_a_panorama_is_that_of_the_yardstick(
    yardstick: Any, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shared / "data/hdr/panoramas/venice_sunset_1k.exr"
    monkeypatch.setattr(yardstick, "HDR_FRAMES", 9)
    monkeypatch.setattr(panorama, "FRAMES", 9)
    scene, ldr = (np.stack(part)[..., ::-1] for part in yardstick.virtual_shot(path))
    shot = panorama.shot_in(np.ascontiguousarray(yardstick.read_image(path)[..., ::-1]))
    assert np.abs(shot.scene - scene).max() < 0.01
    different = shot.ldr.astype(int) - ldr
    assert np.abs(different).max() <= 1
    assert np.count_nonzero(different) < 1e-3 * different.size


def test_metrics_of_hdr_and_masks_are_those_of_the_yardstick(yardstick: Any) -> None:
    random = np.random.default_rng(4)
    truth = random.exponential(0.5, (40, 60, 3)).astype(np.float32)
    result = (truth * random.lognormal(0, 0.3, truth.shape) - 0.05).astype(np.float32)
    ldr = np.clip(np.rint(255 * truth), 0, 255).astype(np.uint8)
    own, theirs = hdr_errors(result, truth, ldr), yardstick.hdr_numbers(result, truth, ldr)
    assert own == {name: pytest.approx(value, rel=1e-4) for name, value in theirs.items()}
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(size=(2, 90, 120)).astype(np.float32)
        a, b = (cv2.GaussianBlur(plane, (0, 0), 6) > 0.02 for plane in (noise[0], noise[0] + 0.3 * noise[1]))
        assert jaccard(a, b) == pytest.approx(yardstick.region(a, b))
        assert boundary(a, b) == pytest.approx(yardstick.boundary(a, b), abs=0.01)
