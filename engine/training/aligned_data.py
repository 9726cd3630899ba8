"""Training crops for the fusion network, drawn by seed from episodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stpn.engine.alignment import Image, Route
from stpn.engine.fusion import candidate, fuse
from stpn.engine.observation import observe
from stpn.engine.training.aligned_episodes import BLOCK, STEP, Episodes, lab_of

# accumulated and direct
ROUTES = 2
# some crops have one key only, as the frames after the last key
LONELY = 0.12


def load_episodes(folder: Path, clip: NDArray[np.uint8]) -> Episodes:
    """What `build_episodes` wrote, memory-mapped."""
    routes = np.load(folder / "routes.npy", mmap_mode="r")
    return Episodes(clip, np.load(folder / "frames.npy"), routes, np.load(folder / "error.npy"))


def draw(
    episodes: list[Episodes], chances: NDArray[np.float64], rng: np.random.Generator, size: int
) -> dict[str, Image]:
    """One crop: the planes of `Inputs` and `truth` (2, size, size), ab / 100.

    Args:
        episodes: of all clips.
        chances: of each clip.
        rng: decides everything.
        size: of the crop, a multiple of 16; a clip that is smaller has its edges repeated.
    """
    one = episodes[rng.choice(len(episodes), p=chances)]
    index = int(rng.integers(len(one.frames)))
    before, target, after = (int(f) for f in one.frames[index])
    corner = corner_of(one.error[index], one.clip.shape[1:3], size, rng)
    window = np.s_[corner[0] : corner[0] + size, corner[1] : corner[1] + size]
    sides = [(0, before), (1, after)]
    if rng.random() < 0.5:
        sides.reverse()
    if rng.random() < LONELY:
        sides = sides[:1]
    angle, saturation, gamma = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.4), rng.uniform(0.8, 1.25)
    if rng.random() < 0.5:
        angle = 0.0  # half of the samples keep their hue: skin and grass have colors of their own
    turn = saturation * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def lab(frame: int) -> Image:
        image = lab_of(one.clip[frame])
        image[..., 1:] = image[..., 1:] @ turn.astype(np.float32)
        image[..., 0] = 100 * np.clip(image[..., 0] / 100, 0, 1) ** np.float32(gamma)
        return image

    truth = lab(target)[window]
    lightness = np.ascontiguousarray(truth[..., 0])
    candidates, keys = [], []
    for side, frame in sides:
        image = lab(frame)
        light, ab = np.ascontiguousarray(image[..., 0]), np.ascontiguousarray(image[..., 1:])
        keys.append((light[window], ab[window]))
        routes = []
        for r in range(ROUTES):
            to_key, to_target = one.routes[index, side * ROUTES + r]
            route = Route(unpacked(to_key[window]), unpacked(to_target))
            routes.append(candidate(ab, light, lightness, route, abs(frame - target), corner))
        candidates.append(routes)
    fused = fuse([c for routes in candidates for c in routes], lightness)
    planes = observe(candidates, fused, lightness, keys)
    planes["truth"] = np.moveaxis(truth[..., 1:] / np.float32(100), 2, 0)
    return mirrored(_grown(planes, size), rng.random() < 0.5, rng.random() < 0.2)


def chances_of(episodes: list[Episodes]) -> NDArray[np.float64]:
    """Clips with much error are drawn more often: by the root of their mean error, none left out."""
    errors = np.array([float(one.error.mean()) ** 0.5 for one in episodes]) + 0.5
    return np.asarray(errors / errors.sum(), np.float64)


def corner_of(error: Image, shape: tuple[int, ...], size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Row and column of a crop around a block that is drawn by its error.

    Args:
        error: (h, w) means over blocks.
        shape: height and width of the picture.
        rng: decides.
        size: of the crop.
    """
    weight = error.astype(np.float64).ravel() + 0.25 * error.mean() + 0.1
    row, column = divmod(int(rng.choice(weight.size, p=weight / weight.sum())), error.shape[1])
    place = []
    for block, full in ((row, shape[0]), (column, shape[1])):
        centre = (block + rng.random()) * BLOCK + rng.uniform(-0.4, 0.4) * size
        place.append(int(np.clip(centre - size / 2, 0, max(0, full - size))))
    return place[0], place[1]


def unpacked(flow: NDArray[np.int16]) -> Image:
    """A flow in pixels, float32, of what `packed` made."""
    return np.asarray(flow, np.float32) / np.float32(STEP)


def _grown(planes: dict[str, Image], size: int) -> dict[str, Image]:
    """Planes of at least size x size, edges repeated."""
    height, width = planes["lightness"].shape[-2:]
    if (height, width) == (size, size):
        return planes
    more = [(0, size - height), (0, size - width)]
    return {
        name: np.pad(plane, [(0, 0)] * (plane.ndim - 2) + more, mode="edge") if plane.ndim >= 3 else plane
        for name, plane in planes.items()
    }


def mirrored(planes: dict[str, Image], across: bool, down: bool) -> dict[str, Image]:
    """Planes of `Inputs`, and others of at least three axes, mirrored; lengths turn with them."""
    out = {}
    for name, plane in planes.items():
        if plane.ndim >= 3:
            for flip, axis, part in ((across, -1, 0), (down, -2, 1)):
                if flip:
                    plane = np.flip(plane, axis).copy()
                    if name in ("flow", "error"):
                        plane[:, part] *= -1
        out[name] = np.ascontiguousarray(plane)
    return out
