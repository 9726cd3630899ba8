"""The camera's response from keys: curves of many kinds, noise, other exposures, and keys that belong elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stpn.engine.properties.response import KeyPair, ResponseError, clip_level, fit_exposure, fit_response

Array = np.ndarray[Any, Any]

CURVES = {
    "gamma": (lambda x: x ** (1 / 2.2), lambda d: d**2.2),
    "film": (lambda x: 1.6 * x / (x + 0.6), lambda d: 0.6 * d / (1.6 - d)),
    "log": (lambda x: np.log1p(50 * x) / np.log(51), lambda d: np.expm1(d * np.log(51)) / 50),
    "linear": (lambda x: x, lambda d: d),
}


def scene(textures: Any, seed: int = 1, moved: tuple[float, float] = (0, 0), scale: float = 0.25) -> Array:
    """Radiance (120, 160, 3) that reaches past 1."""
    planes = [
        textures(120, 160, seed, 6).moved(*moved) + 0.3 * textures(120, 160, 9 + c, 9).moved(*moved) for c in range(3)
    ]
    return (scale * np.exp(np.dstack(planes))).astype(np.float32)


def photographed(light: Array, curve: Any, noise: float = 0.6, seed: int = 0) -> Array:
    """8-bit code values 0..1; light 1 clips."""
    code = 255 * curve(np.clip(light, 0, 1)) + np.random.default_rng(seed).normal(0, noise, light.shape)
    return (np.clip(np.rint(code), 0, 255) / 255).astype(np.float32)


@pytest.mark.parametrize("name", CURVES)
def test_the_curve_is_found(textures: Any, name: str) -> None:
    curve, inverse = CURVES[name]
    light = scene(textures)
    pair = KeyPair(7, photographed(light, curve), 3 * light)  # the keys have a scale of their own
    response = fit_response([pair])
    codes = np.linspace(0.2, 0.94, 40, dtype=np.float32)
    found = response.inverse(np.repeat(codes[None, :, None], 3, axis=2), 7)
    assert np.abs(np.log(found[0] / (3 * inverse(codes)[:, None]))).max() < 0.05
    assert response.clip == pytest.approx(3, rel=0.05)


def test_the_curve_never_falls_however_noisy(textures: Any) -> None:
    light = scene(textures)
    pair = KeyPair(1, photographed(light, CURVES["gamma"][0], noise=6), light)
    for codes, radiances in fit_response([pair]).curves or ():
        assert (np.diff(codes) > 0).all()
        assert (np.diff(radiances) >= 0).all()


def test_a_clipped_linear_plate_clips_where_it_does(textures: Any) -> None:
    light = scene(textures)
    assert clip_level([np.minimum(light, np.float32(0.7))]) == pytest.approx(0.7)
    assert clip_level([photographed(0.2 * light / light.max(), CURVES["gamma"][0])]) == 1


def test_an_exposure_that_changes_is_told_from_the_curve(textures: Any) -> None:
    curve = CURVES["film"][0]
    lights = [scene(textures, seed) for seed in (1, 2)]
    pairs = [
        KeyPair(0, photographed(lights[0], curve), lights[0]),
        KeyPair(10, photographed(2 * lights[1], curve), lights[1]),
    ]
    response = fit_response(pairs)
    assert response.stops[10] - response.stops[0] == pytest.approx(1, abs=0.03)
    middle = response.inverse(photographed(np.sqrt(2) * lights[0], curve, noise=0), 5)
    told = (lights[0] > 0.05) & (lights[0] < 0.5)
    assert np.abs(np.log(middle / lights[0]))[told].mean() < 0.03


def test_a_named_curve_leaves_the_exposure_to_be_found(textures: Any) -> None:
    light = scene(textures)
    ldr = photographed(light, CURVES["gamma"][0])
    known = {4: (ldr**2.2).astype(np.float32)}
    response = fit_exposure([KeyPair(4, ldr, 5 * light)], known)
    told = (light.max(axis=2) < 0.8) & (light.min(axis=2) > 0.05)
    assert np.abs(np.log(response.inverse(known[4], 4) / (5 * light)))[told].mean() < 0.03
    assert response.clip == pytest.approx(5, rel=0.05)


def wrong_keys(textures: Any) -> dict[str, tuple[list[KeyPair], str]]:
    curve = CURVES["film"][0]
    light = scene(textures)
    right = KeyPair(1, photographed(light, curve), light)
    later = scene(textures, 3)
    return {
        "other shot": ([KeyPair(5, right.ldr, scene(textures, 2))], "frame 5: expected a key that shows what"),
        "shifted": ([KeyPair(5, right.ldr, scene(textures, moved=(3, 1)))], "shifted against the plate by [23]"),
        "8 stops": ([right, KeyPair(5, photographed(later, curve), 256 * later)], "frame 5: .*8.0 stops higher"),
        "all clipped": ([KeyPair(5, np.ones_like(light), light)], "frame 5: expected at least"),
        "black": ([KeyPair(5, right.ldr, 0 * light)], "frame 5: expected at least"),
    }


@pytest.mark.parametrize("name", ["other shot", "shifted", "8 stops", "all clipped", "black"])
def test_wrong_keys_are_refused(textures: Any, name: str) -> None:
    pairs, expected = wrong_keys(textures)[name]
    with pytest.raises(ResponseError, match=expected):
        fit_response(pairs)


@pytest.mark.parametrize("noise", [0.6, 4.0])
def test_noise_makes_no_key_wrong(textures: Any, noise: float) -> None:
    light = scene(textures)
    fit_response([KeyPair(1, photographed(light, CURVES["gamma"][0], noise), light)])


def test_a_broken_pixel_changes_nothing_else(textures: Any) -> None:
    light = scene(textures)
    ldr = photographed(light, CURVES["gamma"][0])
    broken = light.copy()
    broken[5, 5] = np.nan
    broken[6, 6] = np.inf
    right, found = (fit_response([KeyPair(1, ldr, one)]).inverse(ldr, 1) for one in (light, broken))
    assert np.isfinite(found).all()
    assert np.allclose(found, right, rtol=0.02)
