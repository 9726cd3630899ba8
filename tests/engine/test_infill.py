"""The in-fill answers to its meaning, written out in float64: what every pixel gathers, and what holds it back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stpn.engine.infill import spread

Array = np.ndarray[Any, Any]
SHAPES = [(1, 1), (1, 7), (6, 1), (2, 2), (5, 9), (17, 12), (33, 64)]


def loop(values: Array, confidence: Array, lightness: Array, floor: float = 1e-4) -> Array:
    """The module's docstring as plain loops over lists of neighbours."""
    weight = confidence.astype(np.float64) + floor
    gathered = np.dstack([values.astype(np.float64) * weight[..., None], weight])
    light = lightness.astype(np.float64)
    for axis in (1, 0):
        n = np.moveaxis(gathered, axis, 0)
        along = np.moveaxis(light, axis, 0)
        total = n.copy()
        for order in (range(len(n)), range(len(n) - 1, -1, -1)):
            r = np.zeros_like(n[0])
            previous = None
            for p in order:
                if previous is not None:
                    r = np.exp(-np.abs(along[p] - along[previous]))[:, None] * (r + n[previous])
                    total[p] += r
                previous = p
        gathered = np.moveaxis(total, 0, axis)
    return gathered[..., :-1] / gathered[..., -1:]


def all_pairs(values: Array, confidence: Array, lightness: Array, floor: float = 1e-4) -> Array:
    """The same in closed form: every pixel of a row reaches every other one by the product of the gates between."""

    def reach(light: Array) -> Array:
        climb = np.concatenate([[0], np.cumsum(np.abs(np.diff(light.astype(np.float64))))])
        return np.exp(-np.abs(climb[:, None] - climb[None]))

    weight = confidence.astype(np.float64) + floor
    gathered = np.dstack([values * weight[..., None], weight])
    gathered = np.stack([reach(row) @ n for row, n in zip(lightness, gathered, strict=True)])
    gathered = np.stack([reach(lightness[:, j]) @ gathered[:, j] for j in range(lightness.shape[1])], axis=1)
    return gathered[..., :-1] / gathered[..., -1:]


def case(shape: tuple[int, int], channels: int = 2, seed: int = 0) -> tuple[Array, Array, Array]:
    random = np.random.default_rng(seed)
    values = random.normal(0, 40, (*shape, channels)).astype(np.float32)
    confidence = (random.random(shape) ** 4).astype(np.float32)
    light = np.cumsum(random.normal(0, 0.5, shape), axis=1) + random.normal(50, 0.3, shape)
    return values, confidence, light.astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_spread_is_its_docstring(shape: tuple[int, int], channels: int) -> None:
    values, confidence, light = case(shape, channels)
    found = spread(values, confidence, light)
    assert (found.dtype, found.shape) == (np.float32, values.shape)
    expected = loop(values, confidence, light)
    np.testing.assert_allclose(all_pairs(values, confidence, light), expected, rtol=1e-9, atol=1e-9)
    # rounding of float32 sums of up to 40 each
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_the_floor_is_a_parameter() -> None:
    values, confidence, light = case((9, 11))
    np.testing.assert_allclose(spread(values, confidence, light, 0.5), loop(values, confidence, light, 0.5), atol=1e-3)
    assert np.abs(spread(values, confidence, light, 0.5) - spread(values, confidence, light)).max() > 0.1


def test_one_color_stays_and_nothing_is_written_to() -> None:
    values, confidence, light = case((20, 30))
    values[:] = [12.5, -40]
    before = [array.copy() for array in (values, confidence, light)]
    np.testing.assert_allclose(spread(values, confidence, light), values, rtol=1e-5)
    for array, copy in zip((values, confidence, light), before, strict=True):
        assert (array == copy).all()


def test_the_sure_fill_the_unsure_up_to_an_edge_of_lightness() -> None:
    light = np.full((12, 20), 30, np.float32)
    light[:, 10:] = 90
    confidence = np.zeros((12, 20), np.float32)
    values = np.full((12, 20, 2), 7, np.float32)  # what the unsure say is not to be seen
    confidence[2, 3], values[2, 3] = 1, [50, 10]
    confidence[9, 16], values[9, 16] = 1, [-30, 20]
    found = spread(values, confidence, light)
    np.testing.assert_allclose(found[:, :10], np.broadcast_to([50, 10], (12, 10, 2)), atol=1.1)
    np.testing.assert_allclose(found[:, 10:], np.broadcast_to([-30, 20], (12, 10, 2)), atol=1.1)


def test_arrays_that_are_not_contiguous() -> None:
    values, confidence, light = case((24, 30))
    cut = values[::2, ::3], confidence[::2, ::3], light[::2, ::3]
    copies = [np.ascontiguousarray(array) for array in cut]
    assert spread(*cut).tobytes() == spread(*copies).tobytes()


def test_nothing_sure_and_huge_steps_of_lightness_stay_finite() -> None:
    values, confidence, light = case((16, 16))
    assert np.isfinite(spread(values, np.zeros_like(confidence), light)).all()
    light[5:9, 5:9] = 1e4
    light[0, 0] = -1e4
    found = spread(values, np.zeros_like(confidence), light)
    np.testing.assert_allclose(found[0, 0], values[0, 0], rtol=1e-4)
    assert np.isfinite(found).all()
