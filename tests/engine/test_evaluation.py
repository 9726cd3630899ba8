"""Metrics, confidence, style and sources of the evaluation, each against a computation of its own."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from stpn.engine.evaluation.clips import ClipError, find_sources, read_frames, read_masks
from stpn.engine.evaluation.confidence import Reliability
from stpn.engine.evaluation.metrics import boundary, hdr_errors, jaccard, psnr, pu21, rmse
from stpn.engine.evaluation.spans import spans
from stpn.engine.evaluation.style import one_way_matrix, orthogonality, style
from stpn.engine.propagation import Direction, normalize_gates
from stpn.engine.propagation.reference import propagate_one_way

Array = np.ndarray[Any, Any]


# ---------------------------------------------------------------- frames and keys


def test_every_frame_but_the_keys_is_measured_once() -> None:
    found = spans(25, 10)
    assert [span.keys for span in found] == [(0, 10), (10, 20), (20,)]
    assert [frame for span in found for frame in span.targets] == [t for t in range(25) if t % 10]
    assert [list(span.reach) for span in found] == [list(range(11)), list(range(10, 21)), list(range(20, 25))]
    assert [found[0].nearest(frame) for frame in (4, 5, 6)] == [0, 0, 10]
    # a key that is the last frame serves; one beyond the end does not
    assert [span.keys for span in spans(21, 20)] == [(0, 20)]
    assert [span.keys for span in spans(20, 20)] == [(0,)]


# ---------------------------------------------------------------- metrics


def test_psnr_of_known_differences() -> None:
    truth = np.full((4, 6, 3), 100, np.uint8)
    result = truth.copy()
    result[0, 0, 1] = 100 + 36  # 36^2 / 72 = 18
    assert rmse(result, truth) == pytest.approx(math.sqrt(18))
    assert rmse(truth, result) == pytest.approx(math.sqrt(18)), "8-bit values must not wrap"
    assert psnr(2.55) == pytest.approx(40)
    assert psnr(0.0) == pytest.approx(108.13, abs=0.01)


def test_hdr_errors_of_known_differences() -> None:
    truth = np.full((20, 20, 3), 0.5, np.float32)
    truth[:10] = 4
    ldr = np.full((20, 20, 3), 120, np.uint8)
    ldr[:10, :, 2] = 254
    result = truth.copy()
    result[:10] = 1.99  # ln(4.01 / 2.00)
    found = hdr_errors(result, truth, ldr)
    off = math.log(4.01 / 2)
    assert found["log_rmse_clipped"] == pytest.approx(off, rel=1e-4)
    assert found["log_rmse"] == pytest.approx(off / math.sqrt(2), rel=1e-4)
    ldr[:8, :, 2] = 253  # 40 clipped pixels are too few
    assert hdr_errors(result, truth, ldr)["log_rmse_clipped"] is None
    perfect = hdr_errors(truth, truth, ldr)
    assert (perfect["log_rmse"], perfect["pu21_psnr"]) == (0, pytest.approx(108.16, abs=0.01))


def test_pu21_is_the_published_curve() -> None:
    # the paper: 0.005 cd/m2 is 0, 100 cd/m2 is 256, 10000 cd/m2 is 595.39
    np.testing.assert_allclose(pu21(np.array([0.005, 100, 10000])), [0, 256, 595.39], atol=0.5)
    assert (np.diff(pu21(np.geomspace(0.005, 10000, 200))) > 0).all()


def test_masks_of_known_overlap() -> None:
    truth = np.zeros((60, 80), bool)
    truth[10:30, 10:30] = True
    moved = np.roll(truth, 5, axis=1)
    assert jaccard(moved, truth) == pytest.approx(15 / 25)
    assert jaccard(truth & False, truth & False) == 1
    assert (boundary(truth, truth), boundary(truth & False, truth), boundary(truth & False, truth & False)) == (1, 0, 1)
    assert boundary(np.roll(truth, 1, axis=1), truth) == 1, "one pixel is within 0.8 % of a diagonal of 100"
    # of the moved outline only what runs along the motion still lies near
    assert 0.3 < boundary(moved, truth) < 0.6


# ---------------------------------------------------------------- confidence


def table_of(confidence: Array, ab_error: Array, squared: Array) -> Reliability:
    table = Reliability()
    table.add(confidence.astype(np.float32), ab_error.astype(np.float32), squared.astype(np.float64))
    return table


def test_auc_is_the_chance_that_a_wrong_pixel_is_less_sure() -> None:
    random = np.random.default_rng(0)
    ab_error = random.exponential(4, (30, 40))
    confidence = np.round(np.clip(0.8 - 0.05 * ab_error + random.normal(0, 0.2, ab_error.shape), 0, 1), 2)
    wrong, right = confidence[ab_error > 5], confidence[ab_error <= 5]
    less, equal = wrong[:, None] < right, wrong[:, None] == right
    area = table_of(confidence, ab_error, ab_error).auc()
    assert area == pytest.approx(less.mean() + equal.mean() / 2, abs=1e-9)
    assert 0.6 < area < 0.95
    assert table_of(1 - confidence, ab_error, ab_error).auc() == pytest.approx(1 - area, abs=1e-3)
    assert table_of(confidence, ab_error * 0, ab_error).auc() is None


def test_share_of_the_error_in_the_least_sure_pixels() -> None:
    confidence = np.linspace(0, 1, 100).reshape(10, 10)
    squared = np.zeros((10, 10))
    squared[0], squared[5] = 3, 1  # the ten least sure hold three quarters
    table = table_of(confidence, squared, squared)
    assert table.share_of_error(0.10) == pytest.approx(0.75)
    assert table.share_of_error(0.05) == pytest.approx(0.375)
    assert table.share_of_error(1.0) == 1
    # without any order a tenth of the pixels holds a tenth of the error
    assert table_of(confidence * 0 + 0.3, squared, squared).share_of_error(0.10) == pytest.approx(0.1)
    assert table_of(confidence, squared, squared * 0).share_of_error(0.10) is None


def test_calibration_has_ten_bins_and_tells_whether_errors_fall() -> None:
    confidence = np.linspace(0.05, 0.95, 10)[:, None].repeat(50, axis=1)
    falling = 10 - 10 * confidence
    table = table_of(confidence, falling, falling)
    bins = table.calibration()
    np.testing.assert_allclose([b.ab_error for b in bins], falling[:, 0], atol=1e-5)
    assert [(round(b.low, 1), round(b.high, 1)) for b in bins] == [(i / 10, (i + 1) / 10) for i in range(10)]
    assert [b.share for b in bins] == pytest.approx([0.1] * 10)
    assert [b.wrong for b in bins] == [1.0] * 5 + [0.0] * 5
    assert table.is_monotone()
    bumped = falling.copy()
    bumped[6] += 3
    assert not table_of(confidence, bumped, bumped).is_monotone()
    rest = table_of(confidence[:3], falling[:3], falling[:3]).calibration()[3:]
    assert all(b.ab_error is None and b.share == 0 for b in rest)


def test_tables_add_up_and_take_what_is_no_number_for_unsure() -> None:
    random = np.random.default_rng(1)
    confidence, error = random.random((2, 20, 20)), random.exponential(4, (2, 20, 20))
    parts = [table_of(c, e, e) for c, e in zip(confidence, error, strict=True)]
    assert Reliability.pooled(parts).auc() == table_of(confidence, error, error).auc()
    broken = confidence[0].copy()
    broken[0] = np.nan
    zero = np.where(np.isnan(broken), 0, broken)
    assert table_of(broken, error[0], error[0]).auc() == table_of(zero, error[0], error[0]).auc()


# ---------------------------------------------------------------- style


def test_style_of_faded_moved_and_turned_colors() -> None:
    key = np.random.default_rng(2).normal(0, 20, (12, 16, 2)).astype(np.float32)
    faded = style(0.5 * key, key)
    assert faded is not None
    assert (faded.energy, faded.loss) == (pytest.approx(0.5), pytest.approx(0.75))
    moved = style(np.roll(key, (3, 5), axis=(0, 1)), key)
    assert moved is not None, "a permutation of the pixels is orthogonal"
    assert (moved.energy, moved.loss) == (pytest.approx(1), pytest.approx(0, abs=1e-6))
    stretched = style(key * np.float32([1, 2]), key)
    assert stretched is not None
    gram = key.reshape(-1, 2).astype(np.float64).T @ key.reshape(-1, 2)
    scaled = gram * [[1, 2], [2, 4]]
    assert stretched.energy == pytest.approx(math.sqrt(np.trace(scaled) / np.trace(gram)))
    assert stretched.loss == pytest.approx(np.linalg.norm(scaled - gram) / np.linalg.norm(gram))
    assert style(key, key * 0) is None


@pytest.mark.parametrize("direction", list(Direction))
def test_the_matrix_is_that_of_the_propagation(direction: Direction) -> None:
    generator = torch.Generator().manual_seed(3)
    gates = normalize_gates(torch.randn(1, 4, 1, 3, 5, 7, generator=generator, dtype=torch.float64))
    matrix = one_way_matrix(gates, direction)
    x = torch.randn(1, 1, 5, 7, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(matrix @ x.flatten(), propagate_one_way(x, gates, direction).flatten())
    # G is triangular in the order in which the direction visits the pixels
    order = torch.arange(35).reshape(5, 7)
    order = order.T if direction.horizontal else order
    order = (order.flip(0) if direction.reverse else order).flatten()
    assert matrix[order][:, order].triu(1).abs().max() == 0


def test_orthogonality_of_nothing_and_of_a_blur() -> None:
    nothing = orthogonality([torch.zeros(1, 4, 1, 3, 16, 40)])
    assert (nothing.gram, nothing.inverse) == (0, 0)
    gates = torch.zeros(1, 4, 1, 3, 30, 50)
    gates[:, :, :, 1] = 0.5
    found = orthogonality([gates])
    line = np.zeros((12, 12))  # y_i = (x_i + y_(i-1)) / 2
    for column in range(12):
        y = float(column == 0)
        for i in range(12):
            y = y if i == 0 else (float(column == i) + y) / 2
            line[i, column] = y
    identity = np.eye(12)
    off = np.linalg.norm(line.T @ line - identity) / np.linalg.norm(identity)
    back = line[::-1, ::-1]
    assert found.gram == pytest.approx(off, rel=1e-5)
    assert found.inverse == pytest.approx(np.linalg.norm(back @ line - identity) / np.linalg.norm(identity), rel=1e-5)


# ---------------------------------------------------------------- sources


def pictures(folder: Path, count: int, shape: tuple[int, int] = (6, 8)) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        # 8 before 9 before 10, whatever letters come first
        cv2.imwrite(str(folder / f"b2.{number + 8}.png"), np.full((*shape, 3), [10, 20, number], np.uint8))
    return folder


def test_frames_come_as_rgb_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    frames = read_frames(pictures(tmp_path / "clip", 5))
    assert frames.shape == (5, 6, 8, 3)
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames[:, 0, 0], [[n, 20, 10] for n in range(5)])


def test_large_pictures_are_reduced_to_the_long_side(tmp_path: Path) -> None:
    assert read_frames(pictures(tmp_path / "wide", 1, (300, 1024))).shape == (1, 150, 512, 3)
    assert read_frames(pictures(tmp_path / "tall", 1, (1000, 333))).shape == (1, 512, 170, 3)


def test_sources_are_clips_folders_and_lists(tmp_path: Path) -> None:
    one, two = pictures(tmp_path / "data/clips/one", 2), pictures(tmp_path / "data/clips/two", 2)
    (tmp_path / "list").mkdir()
    listing = tmp_path / "list/validation.json"
    listing.write_text(json.dumps({"color": ["clips/two"], "hdr": []}))
    found = find_sources([listing, one, tmp_path / "data/clips"], "color")
    assert [(source.name, source.path) for source in found] == [("two", two), ("one", one)]
    assert find_sources([listing], "color", tmp_path / "data")[0].path == two
    other = pictures(tmp_path / "data/other/one", 2)
    assert [source.name for source in find_sources([one, other], "color")] == ["clips/one", "other/one"]


def test_what_is_no_source_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("no clip")
    (tmp_path / "list.json").write_text('{"mask": []}')
    (tmp_path / "away.json").write_text('{"color": ["gone.mp4"]}')
    for name, reason in {
        "empty": "a folder without any",
        "note.txt": "a file that is none",
        "gone.mp4": "nothing",
        "list.json": '"color": \\["path"',
        "away.json": "gone.mp4, found nothing; name its --data",
        "none.json": "expected a JSON list of sources, found nothing",
    }.items():
        with pytest.raises(ClipError, match=reason):
            find_sources([tmp_path / name], "color")


def test_masks_fit_their_frames(tmp_path: Path) -> None:
    frames = np.zeros((3, 10, 20, 3), np.uint8)
    mask = np.zeros((20, 40), np.uint8)
    mask[:10] = 2  # any object number
    cv2.imwrite(str(tmp_path / "00000.png"), mask)
    cv2.imwrite(str(tmp_path / "00002.png"), mask.T)
    masks = read_masks(tmp_path, frames)
    assert masks[1] is None
    assert [None if m is None else m.shape for m in masks] == [(10, 20), None, (10, 20)]
    assert masks[0] is not None
    assert masks[0][:5].all()
    assert not masks[0][5:].any()
    (tmp_path / "00000.png").unlink()
    with pytest.raises(ClipError, match="expected a mask of the first frame"):
        read_masks(tmp_path, frames)
