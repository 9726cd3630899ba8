"""Training crops for the fusion network of HDR, drawn by seed from episodes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stpn.engine.alignment import Image, Route
from stpn.engine.fusion import candidate
from stpn.engine.observation import observe
from stpn.engine.properties.hdr import UNIT, alpha_of, blindness_of, fused_of, lightness_of
from stpn.engine.properties.response import EPSILON
from stpn.engine.training.aligned_data import LONELY, corner_of, mirrored, unpacked
from stpn.engine.training.hdr_episodes import ROUTES, HdrEpisodes


def draw_hdr(
    episodes: list[HdrEpisodes], chances: NDArray[np.float64], rng: np.random.Generator, size: int
) -> dict[str, Image]:
    """One crop: the planes of `Inputs`, `truth` (3, size, size), ln(H + 0.01) / 2, and `lost` (3, size, size), 0..1,
    how far what is carried counts.

    Args:
        episodes: of all shots.
        chances: of each shot.
        rng: decides everything.
        size: of the crop, a multiple of 16, no larger than the shots.
    """
    one = episodes[rng.choice(len(episodes), p=chances)]
    row = int(rng.integers(len(one.frames) - 2))
    target = int(one.frames[2 + row])
    corner = corner_of(one.error[row], one.ldr.shape[1:3], size, rng)
    window = np.s_[corner[0] : corner[0] + size, corner[1] : corner[1] + size]
    sides = [0, 1]
    if rng.random() < 0.5:
        sides.reverse()
    if rng.random() < LONELY:
        sides = sides[:1]
    order = rng.permutation(3) if rng.random() < 0.5 else np.arange(3)  # any light has any color

    def log(light: NDArray[np.float16]) -> Image:
        return np.asarray(np.log(np.asarray(light, np.float32)[..., order] + EPSILON), np.float32)

    # lightness is found before colors change places, as motion was
    lightness = lightness_of(np.log(np.asarray(one.shown[2 + row][window], np.float32) + EPSILON))
    candidates, keys = [], []
    for side in sides:
        prop = log(one.scene[side])
        light = lightness_of(np.log(np.asarray(one.shown[side], np.float32) + EPSILON))
        keys.append((light[window], prop[window]))
        routes = []
        for r in range(ROUTES):
            to_key, to_target = one.routes[row, side * ROUTES + r]
            route = Route(unpacked(to_key[window]), unpacked(to_target))
            routes.append(candidate(prop, light, lightness, route, abs(int(one.frames[side]) - target), corner))
        candidates.append(routes)
    fused = fused_of(candidates, lightness)
    level = one.ldr[2 + row][window].astype(np.float32)[..., order] / np.float32(255)
    shown, blind = log(one.shown[2 + row][window]), blindness_of(level)
    planes = observe(candidates, fused, lightness, keys, UNIT, (shown, blind))
    planes["truth"] = np.moveaxis(log(one.scene[2 + row][window]) / np.float32(UNIT), 2, 0)
    planes["lost"] = np.moveaxis(alpha_of(level) * blind, 2, 0)
    return mirrored(planes, rng.random() < 0.5, rng.random() < 0.1)


def hdr_chances(episodes: list[HdrEpisodes]) -> NDArray[np.float64]:
    """Shots with much error are drawn more often, none left out."""
    errors = np.array([float(one.error.mean()) ** 0.25 for one in episodes]) + 0.1
    return np.asarray(errors / errors.sum(), np.float64)
