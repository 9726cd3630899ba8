"""The protocol of color on a small clip, and what comes out of it: scores, means, gains, tables, figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from stpn.engine.evaluation.clips import ClipError, Source
from stpn.engine.evaluation.color import ColorClip, Job, Result, carried, measure, picture_of, score
from stpn.engine.evaluation.methods import Method, MethodError, network, parse_method
from stpn.engine.evaluation.plots import figures
from stpn.engine.evaluation.summary import Summary
from stpn.engine.evaluation.table import color_tables
from stpn.engine.network import NetworkConfig, SwitchableTPN
from stpn.engine.weights import save_network

Array = np.ndarray[Any, Any]
FRAMES, HEIGHT, WIDTH = 12, 48, 64


def moving_clip(textures: Any, frames: int = FRAMES) -> Array:
    """(T, H, W, 3) uint8: colored noise that moves by one pixel a frame."""
    planes = [textures(96, 96, seed, finest=4.0) for seed in range(3)]
    moved = [np.dstack([plane.moved(t, 0) for plane in planes])[:HEIGHT, :WIDTH] for t in range(frames)]
    return np.asarray(np.clip(128 + 45 * np.stack(moved), 0, 255), np.uint8)


@pytest.fixture(scope="module")
def clip(textures: Any) -> ColorClip:
    return ColorClip("moving", moving_clip(textures))


@pytest.fixture(scope="module")
def source(textures: Any, tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("clips") / "moving"
    folder.mkdir()
    for number, frame in enumerate(moving_clip(textures)):
        cv2.imwrite(str(folder / f"{number:04d}.png"), np.ascontiguousarray(frame[..., ::-1]))
    return Source("moving", folder)


def untrained(path: Path, straight: float = 0.0) -> Path:
    """Weights of a small network; `straight` is what the straight gates of all directions start at."""
    torch.manual_seed(0)
    network = SwitchableTPN(NetworkConfig(hidden_channels=8, guidance_widths=(4, 4)))
    with torch.no_grad():
        network.guidance.gates.weight.zero_()
        network.guidance.gates.bias[1::3] = straight  # type: ignore[index]
    save_network(path, network, {})
    return path


# ---------------------------------------------------------------- scores


def perfect(clip: ColorClip, interval: int, confidence: float | None = None) -> list[Result]:
    sure = None if confidence is None else np.full((HEIGHT, WIDTH), confidence, np.float32)
    frames = [frame for frame in range(len(clip)) if frame % interval]
    return [Result(t, clip.frames[t], clip.ab(t), sure) for t in frames]


def test_the_truth_scores_as_high_as_can_be(clip: ColorClip) -> None:
    found = score(clip, 5, "truth", perfect(clip, 5))
    assert [(f.frame, f.distance) for f in found.frames] == [
        (1, 1), (2, 2), (3, 2), (4, 1), (6, 1), (7, 2), (8, 2), (9, 1), (11, 1),
    ]  # fmt: skip
    assert (found.rmse, found.psnr) == (0, pytest.approx(108.13, abs=0.01))
    assert all(f.style == f.true_style for f in found.frames)
    assert found.reliability is None


def test_lab_and_back_loses_nothing(clip: ColorClip) -> None:
    for frame in (0, 7):
        back = picture_of(clip.lightness(frame), clip.ab(frame))
        assert np.abs(back.astype(int) - clip.frames[frame]).max() <= 1


def test_what_the_key_has_not_is_not_seen(clip: ColorClip) -> None:
    """Methods get true color of keys only: other frames' color may be anything."""
    spoiled = ColorClip("spoiled", clip.frames)
    for frame in range(FRAMES):
        if frame % 5:
            spoiled._lab[frame] = spoiled._lab[frame] * np.float32([1, 0, 0])
    for method in ("copy", "flow_one", "flow_both", Method("flow", "flow")):
        for one, other in zip(carried(clip, 5, method), carried(spoiled, 5, method), strict=True):
            np.testing.assert_array_equal(one.picture, other.picture)


def test_errors_of_known_size(clip: ColorClip) -> None:
    results = perfect(clip, 5, confidence=1.0)
    off = clip.frames[3].copy()
    off[:10] ^= 16  # every value of these rows is 16 off
    away = clip.ab(3)
    away[:10] += 6
    unsure = np.ones((HEIGHT, WIDTH), np.float32)
    unsure[:10] = 0.1
    results[2] = Result(3, off, away, unsure)
    found = score(clip, 5, "off", results, worst=2)
    assert found.frames[2].rmse == pytest.approx(16 * np.sqrt(10 / HEIGHT))
    assert found.rmse == pytest.approx(found.frames[2].rmse / 9)
    assert found.reliability is not None
    assert found.reliability.auc() == 1
    # 640 of 9 x 48 x 64 pixels hold all of the error
    assert found.reliability.share_of_error(10 / HEIGHT / 9) == pytest.approx(1)
    assert (found.worst[0].frame, found.worst[0].rmse) == (3, found.frames[2].rmse)
    assert len({one.frame // 5 for one in found.worst}) == 2, "no two of one span"


def test_a_frame_without_result_is_an_error(clip: ColorClip) -> None:
    with pytest.raises(ValueError, match="expected a result of every frame but the keys, 1 lack"):
        score(clip, 5, "short", perfect(clip, 5)[:-1])


def test_motion_beats_the_copy(source: Source) -> None:
    methods = [parse_method("flow"), parse_method("aligned")]
    scores = measure(Job(source, 5, ["copy", "flow_one", "flow_both"], methods, worst=1))
    assert [found.label for found in scores] == ["copy", "flow_one", "flow_both", "flow", "aligned"]
    psnr = {found.label: found.psnr for found in scores}
    assert psnr["flow_one"] > psnr["copy"] + 3
    assert psnr["flow_both"] > psnr["copy"] + 5
    assert psnr["flow"] > psnr["copy"] + 5
    assert [found.reliability is None for found in scores] == [True, True, True, False, False]
    assert [len(found.worst) for found in scores] == [0, 0, 0, 1, 0], "pictures of the first method only"


def test_a_clip_of_one_frame_is_refused(source: Source, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes((source.path / "0000.png").read_bytes())
    with pytest.raises(ClipError, match="expected 2 frames or more, got 1"):
        measure(Job(Source("one", tmp_path), 5, ["copy"], []))


# ---------------------------------------------------------------- methods


def test_networks_with_labels_of_their_own(source: Source, tmp_path: Path) -> None:
    still, blurring = untrained(tmp_path / "a.safetensors"), untrained(tmp_path / "b.safetensors", 0.8)
    methods = [parse_method(f"BTPN={still}"), parse_method(f"stpn={blurring}")]
    assert [(m.label, m.kind) for m in methods] == [("BTPN", "stpn"), ("stpn", "stpn")]
    assert network(methods[0]) is not network(methods[1])
    found = {one.label: one for one in measure(Job(source, 5, ["copy"], methods))}
    still_one, blurred = found["BTPN"].orthogonality, found["stpn"].orthogonality
    assert still_one is not None
    assert blurred is not None
    assert still_one.gram == pytest.approx(0, abs=1e-6), "gates of zero leave everything where it is"
    assert blurred.gram > 0.3
    assert found["BTPN"].psnr != found["stpn"].psnr


def test_methods_that_there_are_not(tmp_path: Path) -> None:
    for text, reason in {
        "floow": "expected one of aligned, flow, stpn, or LABEL=FILE",
        "flow_both": "that is a --baseline",
        "flow=a.safetensors": "a label other than",
        "copy=a.safetensors": "a label other than",
        "=a.safetensors": "expected LABEL=FILE",
        f"mine={tmp_path}/none.safetensors": "--method mine=.*none.safetensors",
    }.items():
        with pytest.raises(MethodError, match=reason):
            parse_method(text)
    grey = SwitchableTPN(NetworkConfig(property_channels=1, hidden_channels=8, guidance_widths=(4, 4)))
    save_network(tmp_path / "grey.safetensors", grey, {})
    with pytest.raises(MethodError, match="property of 2 channels and guide of 1, got 1 and 1"):
        parse_method(f"mine={tmp_path}/grey.safetensors")


# ---------------------------------------------------------------- sums


@pytest.fixture(scope="module")
def summary(clip: ColorClip) -> Summary:
    """Two clips of which the second gains nothing."""
    scores = []
    for interval in (4, 6):
        copied = score(clip, interval, "copy", list(carried(clip, interval, "copy")))
        flow = score(clip, interval, "flow", list(carried(clip, interval, Method("flow", "flow"))), worst=2)
        scores += [copied, flow]
        scores += [dataclasses.replace(copied, clip="dull"), dataclasses.replace(copied, clip="dull", label="flow")]
    return Summary(scores, ["moving", "dull"], ["copy", "flow"])


def test_means_are_over_frames_and_then_over_clips(summary: Summary) -> None:
    moving, dull = (summary.score(clip, 6, "flow") for clip in ("moving", "dull"))
    assert moving.psnr == pytest.approx(np.mean([f.psnr for f in moving.frames]))
    assert summary.psnr(6, "flow") == pytest.approx((moving.psnr + dull.psnr) / 2)
    assert summary.rmse(6, "flow") == pytest.approx((moving.rmse + dull.rmse) / 2)
    gain = summary.gain(6, "flow", "copy")
    assert (gain.least, gain.clip) == (0, "dull")
    assert gain.mean == pytest.approx((moving.psnr - dull.psnr) / 2)


def test_decay_is_by_distance(summary: Summary) -> None:
    decay = summary.decay(6, "copy")
    assert list(decay) == [1, 2, 3, 4, 5], "frames after the last key have only that"
    frames = summary.score("moving", 6, "copy").frames
    assert decay[2] == pytest.approx(np.mean([f.psnr for f in frames if f.distance == 2]))
    assert decay[1] > decay[3]


def test_trust_counts_the_clips_that_have_a_confidence(summary: Summary) -> None:
    assert summary.trust(6, "copy") is None
    trust = summary.trust(6, "flow")
    moving = summary.score("moving", 6, "flow").reliability
    assert trust is not None
    assert moving is not None
    assert (trust.clips, trust.auc) == (1, moving.auc())
    assert trust.auc is not None
    assert trust.auc > 0.6
    assert trust.shares == (moving.share_of_error(0.1), moving.share_of_error(0.25))


def test_style_of_a_copy_is_that_of_the_key(summary: Summary) -> None:
    assert summary.style(6, "copy") == (pytest.approx(1), pytest.approx(0))
    energy, loss = summary.style(6, "copy", truth=True)
    assert energy == pytest.approx(1, abs=0.1)
    assert loss is not None
    assert loss > 0.001


def test_tables_hold_the_numbers(summary: Summary) -> None:
    text = color_tables(summary, ["copy"])
    assert f"{summary.psnr(4, 'flow'):.2f}" in text
    gain = summary.gain(6, "flow", "copy")
    assert f"{gain.mean:+.3f}  {gain.least:+.3f} dull" in text
    own = summary.score("moving", 6, "flow")
    assert f"{own.psnr:.2f} ({own.rmse:.2f})" in text
    assert "over flow" not in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_the_report_is_complete_and_plain(summary: Summary) -> None:
    import json

    report = json.loads(json.dumps(summary.report(["copy"])))
    assert report["mean"]["6"]["flow"]["psnr"] == pytest.approx(summary.psnr(6, "flow"))
    assert report["gain"]["6"]["flow"]["copy"]["clip"] == "dull"
    assert set(report["confidence"]["6"]) == {"flow"}
    assert len(report["confidence"]["6"]["flow"]["calibration"]) == 10
    assert [f["frame"] for f in report["by_clip"]["moving"]["4"]["flow"]["frames"]] == [1, 2, 3, 5, 6, 7, 9, 10, 11]


def test_figures_are_drawn(summary: Summary, tmp_path: Path) -> None:
    drawn = figures(summary, "flow", worst=2)
    assert set(drawn) == {"psnr_over_distance", "psnr_by_clip", "error_by_confidence", "worst_K4", "worst_K6"}
    for name, figure in drawn.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert cv2.imread(str(tmp_path / f"{name}.png")).std() > 5
    curve = drawn["psnr_over_distance"].axes[1].lines[1]
    np.testing.assert_allclose(curve.get_ydata(), list(summary.decay(6, "flow").values()))
    assert len(drawn["worst_K6"].axes) == 8, "two rows of four pictures"
    alone = Summary([summary.score("moving", 4, "copy")], ["moving"], ["copy"])
    assert "error_by_confidence" not in figures(alone, "copy", worst=0)
