"""Motion and warping: known motion is found, and every formula is that of its docstring."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from stpn.engine.alignment import Route, agreement, chain, consistency, estimate_flow, grid, refine, warp
from stpn.engine.routes import guide8, neighbour_steps, routes_from

Array = np.ndarray[Any, Any]
SHAPE = (64, 96)
INSIDE = (slice(12, -12), slice(12, -12))
SHIFTS = [(0.0, 0.0), (0.4, -0.3), (1.5, 2.25), (-4.0, 3.0), (6.0, -5.5)]


def seen(texture: Any, right: float, down: float) -> Array:
    return guide8(50 + 15 * texture.moved(right, down))


def uniform(right: float, down: float, shape: tuple[int, int] = SHAPE) -> Array:
    return np.broadcast_to(np.array([right, down], np.float32), (*shape, 2)).copy()


def random_flow(seed: int, size: float = 4.0, shape: tuple[int, int] = SHAPE) -> Array:
    return np.random.default_rng(seed).uniform(-size, size, (*shape, 2)).astype(np.float32)


def in_a_new_thread(function: Any) -> Any:
    """What a function returns in a thread that has never estimated anything."""
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    thread.join()
    return result[0]


@pytest.mark.parametrize("shift", SHIFTS, ids=str)
def test_a_known_shift_is_found(textures: Any, shift: tuple[float, float]) -> None:
    texture = textures(*SHAPE)
    flow = estimate_flow(seen(texture, 0, 0), seen(texture, *shift))
    assert (flow.dtype, flow.shape) == (np.float32, (*SHAPE, 2))
    assert np.abs(flow - uniform(*shift))[INSIDE].mean() < 0.1
    start = uniform(shift[0] + 1, shift[1] - 1)
    again = estimate_flow(seen(texture, 0, 0), seen(texture, *shift), start)
    assert np.abs(again - uniform(*shift))[INSIDE].mean() < 0.1
    assert (start == uniform(shift[0] + 1, shift[1] - 1)).all(), "the start was written to"


def test_a_start_reaches_what_is_too_far_to_be_found_from_rest(textures: Any) -> None:
    texture = textures(96, 128, finest=8)
    shift = (40.0, -22.0)
    pair = seen(texture, 0, 0), seen(texture, *shift)
    rows, columns = slice(30, 84), slice(12, 76)
    truth = uniform(*shift, (96, 128))
    lost = np.abs(estimate_flow(*pair) - truth)[rows, columns].mean()
    found = np.abs(estimate_flow(*pair, uniform(39, -21, (96, 128))) - truth)[rows, columns].mean()
    assert lost > 5
    assert found < 0.1


def test_a_call_without_a_start_forgets_the_start_before(textures: Any) -> None:
    # one DIS instance goes on from the flow of the call before
    texture = textures(*SHAPE)
    pair = seen(texture, 0, 0), seen(texture, 3, 1)
    fresh = in_a_new_thread(lambda: estimate_flow(*pair))

    def after_another() -> Array:
        estimate_flow(pair[1], pair[0], random_flow(1, 20))
        return estimate_flow(*pair)

    assert in_a_new_thread(after_another).tobytes() == fresh.tobytes()


def test_a_call_with_a_start_forgets_the_calls_before(textures: Any) -> None:
    texture = textures(*SHAPE)
    pair, start = (seen(texture, 0, 0), seen(texture, 3, 1)), uniform(2, 2)
    fresh = in_a_new_thread(lambda: estimate_flow(*pair, start))

    def after_others() -> Array:
        estimate_flow(pair[1], pair[0])
        estimate_flow(pair[1], pair[0], random_flow(1, 20))
        other = seen(textures(48, 80), 0, 0)
        estimate_flow(other, other, random_flow(2, 9, (48, 80)))
        return estimate_flow(*pair, start)

    assert in_a_new_thread(after_others).tobytes() == fresh.tobytes()


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (32, 200), (101, 34)], ids=str)
@pytest.mark.parametrize("content", ["noise", "black", "half black", "clipped"])
def test_flows_are_finite(shape: tuple[int, int], content: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    cut = noise * (np.arange(shape[1]) > shape[1] // 2).astype(np.uint8)
    image = {"noise": noise, "black": 0 * noise, "half black": cut, "clipped": np.where(noise > 99, 255, 0)}[content]
    first, second = np.asarray(image, np.uint8), noise
    assert np.isfinite(estimate_flow(first, second)).all()
    for start in (random_flow(3, 2, shape), random_flow(4, 1e6, shape)):
        assert np.isfinite(estimate_flow(first, second, start)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_a_start_that_is_no_number_is_no_motion(textures: Any, value: float) -> None:
    texture = textures(*SHAPE)
    pair = seen(texture, 0, 0), seen(texture, 1, 0)
    broken, repaired = uniform(1, 0), uniform(1, 0)
    broken[20:30, 20:30], repaired[20:30, 20:30] = value, 0
    assert estimate_flow(*pair, broken).tobytes() == estimate_flow(*pair, repaired).tobytes()


@pytest.mark.parametrize("shape", [(1, 1), (31, 200), (200, 31)], ids=str)
def test_frames_too_small_for_a_search_do_not_move(shape: tuple[int, int]) -> None:
    image = np.zeros(shape, np.uint8)
    start = random_flow(0, 3, shape)
    assert (estimate_flow(image, image) == np.zeros((*shape, 2))).all()
    assert (estimate_flow(image, image, start) == start).all()


@pytest.mark.parametrize("channels", [(), (1,), (2,), (3,), (5,)], ids=str)
def test_warp_is_bilinear_with_repeated_edges(channels: tuple[int, ...], warp_by_hand: Any) -> None:
    image = np.random.default_rng(1).normal(size=(13, 17, *channels)).astype(np.float32)
    flow = random_flow(2, 6, (13, 17))
    warped = warp(image, flow)
    assert (warped.dtype, warped.shape) == (np.float32, image.shape)
    np.testing.assert_allclose(warped, warp_by_hand(image, flow), atol=1e-4)


def test_warp_by_whole_pixels_copies_bits() -> None:
    image = np.random.default_rng(1).normal(size=(13, 17)).astype(np.float32) * np.float32(1e4)
    # x comes first and a flow points to where the value is taken from
    warped = warp(image, uniform(2, -3, (13, 17)))
    assert (warped[3:, :-2] == image[:-3, 2:]).all()
    assert (warped[:3, :-2] == image[0, 2:]).all()


def test_the_grid_is_x_then_y_and_cannot_be_changed() -> None:
    assert grid(3, 4)[2, 1].tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        grid(3, 4)[0, 0] = 1


def test_chain_follows_the_second_flow_from_where_the_first_leads(warp_by_hand: Any) -> None:
    first, second = random_flow(1), random_flow(2)
    np.testing.assert_allclose(chain(first, second), first + warp_by_hand(second, first), atol=1e-4)
    np.testing.assert_allclose(chain(uniform(1, 2), uniform(3, -5)), uniform(4, -3), atol=1e-6)


def test_refine_finds_the_direct_motion_both_ways(textures: Any) -> None:
    texture = textures(*SHAPE)
    target, key = seen(texture, 0, 0), seen(texture, 5, -3)
    drifted = Route(uniform(4, -2), uniform(-6, 4))
    refined = refine(drifted, target, key)
    assert np.abs(refined.to_key - uniform(5, -3))[INSIDE].mean() < 0.1
    assert np.abs(refined.to_target - uniform(-5, 3))[INSIDE].mean() < 0.1


def test_consistency_is_1_where_the_way_back_ends_at_its_start() -> None:
    sure = consistency(Route(uniform(3.5, -2.5), uniform(-3.5, 2.5)))
    inside = np.zeros(SHAPE, bool)
    inside[2:, :-3] = True  # up to one pixel outside is inside
    assert (sure[inside] == 1).all()
    assert (sure[~inside] == 0).all()


@pytest.mark.parametrize("error", [0.5, 1.0, 3.0])
def test_consistency_falls_with_the_error_in_units_of_a_pixel_and_the_way(error: float) -> None:
    sure = consistency(Route(uniform(-3, 4), uniform(3 + error, -4)))
    expected = np.exp(-((error / (1 + 0.02 * 5)) ** 2))
    np.testing.assert_allclose(sure[:-5, 4:], expected, rtol=1e-4)


def test_agreement_falls_with_the_mean_difference_around() -> None:
    light = np.random.default_rng(0).uniform(0, 100, (20, 30)).astype(np.float32)
    assert (agreement(light, light) == 1).all()
    np.testing.assert_allclose(agreement(light, light + np.float32(3)), np.exp(-((3 / 4) ** 2)), rtol=1e-4)
    one = light.copy()
    one[10, 15] += 50
    alike = agreement(light, one)
    np.testing.assert_allclose(alike[8:13, 13:18], np.exp(-((2 / 4) ** 2)), rtol=1e-4)
    assert (alike == 1).sum() == alike.size - 25


def test_guides_are_8_bits_of_lightness() -> None:
    light = np.array([[-5, 0, 0.2, 50, 100, 250, np.nan, np.inf, -np.inf, 1e30]], np.float32)
    assert guide8(light).tolist() == [[0, 0, 1, 128, 255, 255, 0, 255, 0, 255]]


def test_neighbour_steps_run_both_ways_between_all_neighbours(textures: Any) -> None:
    texture = textures(*SHAPE)
    guides = {frame: seen(texture, 1.5 * frame, 0) for frame in (-1, 0, 1)}
    steps = neighbour_steps(guides)
    assert set(steps) == {(-1, 0), (0, -1), (0, 1), (1, 0)}
    for (a, b), flow in steps.items():
        assert flow.tobytes() == estimate_flow(guides[a], guides[b]).tobytes()
        assert np.abs(flow - uniform(1.5 * (b - a), 0))[INSIDE].mean() < 0.1


@pytest.mark.parametrize(("key", "towards"), [(10, 14), (14, 10)])
def test_routes_are_the_composition_of_all_steps(key: int, towards: int, warp_by_hand: Any) -> None:
    steps = {(a, b): random_flow(100 * a + b, 2) for a in range(10, 15) for b in (a - 1, a + 1)}
    found = dict(routes_from(key, steps, towards))
    way = 1 if towards > key else -1
    assert list(found) == list(range(key + way, towards + way, way))
    for frame, route in found.items():
        to_target = steps[key, key + way].astype(np.float64)
        to_key = steps[key + way, key].astype(np.float64)
        for at in range(key + way, frame, way):
            to_target = to_target + warp_by_hand(steps[at, at + way], to_target)
            step = steps[at + way, at]
            to_key = step + warp_by_hand(to_key, step)
        np.testing.assert_allclose(route.to_target, to_target, atol=1e-3)
        np.testing.assert_allclose(route.to_key, to_key, atol=1e-3)


def test_routes_add_up_steady_motion_and_end_at_once_at_the_key() -> None:
    steps = {(a, b): uniform(2.0 * (b - a), a - b) for a in range(5) for b in (a - 1, a + 1)}
    routes = dict(routes_from(0, steps, 4))
    np.testing.assert_allclose(routes[4].to_target, uniform(8, -4), atol=1e-5)
    np.testing.assert_allclose(routes[4].to_key, uniform(-8, 4), atol=1e-5)
    assert list(routes_from(3, steps, 3)) == []
