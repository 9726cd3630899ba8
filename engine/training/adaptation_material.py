"""What a shot's keys teach: each predicted from its neighbours, in crops to learn from or whole to be judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stpn.engine import aligned
from stpn.engine.aligned import carry_aligned, mix_observed, shown_smaller
from stpn.engine.aligned_network import AlignedFusion
from stpn.engine.alignment import (
    Estimate,
    Guide8,
    Image,
    Route,
    estimate_flow,
    estimate_quickly,
    refine,
    refine_quickly,
)
from stpn.engine.full_size import at_full_size, full_size_keys
from stpn.engine.fusion import Candidate, candidate, fuse
from stpn.engine.observation import KEYS, UNIT, observe
from stpn.engine.routes import Steps, guide8, neighbour_steps, routes_from
from stpn.engine.training.aligned_data import mirrored

Half = NDArray[np.float16]
Window = tuple[int, int, int, int]

# what the network is shown has sides that are multiples of this
MULTIPLE = 16
# where there is one key to learn from, it is cut into cells of about this size, some to learn from, some held aside
_CELL = 96
_MOST_CELLS = 4
# L / 100 and ab / 100 beyond this are broken pixels; they must not rule what is learned, nor the check
_FURTHEST = np.float32(4)
_LENGTHS = ("flow", "error")


@dataclass(frozen=True)
class Triple:
    """A key frame that is to be predicted, and what predicts it.

    Attributes:
        frame: the key frame.
        serving: the neighbouring keys that predict it, one or two, ascending.
        lightness: (H, W) float32, 0..100, of every frame from the first to the last of these.
        props: (H, W, 2) float32, ab, of the key frame and of those serving.
        reduced: whether all this is a larger plate at the working size; see `stpn.engine.working_size`. Motion is then
            estimated quickly and the network is shown less, as in a render.
    """

    frame: int
    serving: tuple[int, ...]
    lightness: Mapping[int, Image]
    props: Mapping[int, Image]
    reduced: bool = False

    @property
    def factor(self) -> int:
        """How many times smaller than it is the network is shown it."""
        return shown_factor(*self.lightness[self.frame].shape, reduced=self.reduced)


def shown_factor(height: int, width: int, *, reduced: bool) -> int:
    """How many times smaller than it is the network is shown a picture; `reduced` as in `Triple`."""
    return shown_smaller(height, width, aligned.MIXED_LONG_SIDE if reduced else None)


class Motion:
    """Estimates the routes of triples in ascending order; what two in a row share is estimated once."""

    def __init__(self, parallel: Callable[..., Iterable[Image]] = map) -> None:
        """Args: parallel: like `map`, or a pool's."""
        self._parallel = parallel
        self._guides: dict[int, Guide8] = {}
        self._steps: Steps = {}

    def routes(self, triple: Triple) -> list[list[Route]]:
        """Of every serving key, accumulated and direct, as `--method aligned` takes them."""
        guides = {frame: guide8(light) for frame, light in triple.lightness.items()}
        out = []
        for key in triple.serving:
            first, last = sorted((key, triple.frame))
            between = {frame: guides[frame] for frame in range(first, last + 1)}
            steps = self._steps_between(between, estimate_quickly if triple.reduced else estimate_flow)
            for _, route in routes_from(key, steps, triple.frame):
                accumulated = route
            again = refine_quickly if triple.reduced else refine
            out.append([accumulated, again(accumulated, guides[triple.frame], guides[key])])
        return out

    def _steps_between(self, guides: dict[int, Guide8], estimate: Estimate) -> Steps:
        known = self._guides
        if known.keys() != guides.keys() or any((known[frame] != guides[frame]).any() for frame in guides):
            self._guides, self._steps = {}, {}  # frees what was, before there is more
            self._steps = neighbour_steps(guides, self._parallel, estimate)
        self._guides = guides
        return self._steps


def seen_along(triple: Triple, routes: Sequence[Sequence[Route]]) -> list[list[Candidate]]:
    """What every serving key gives along each of its routes."""
    light = triple.lightness[triple.frame]
    return [
        [candidate(triple.props[key], triple.lightness[key], light, r, abs(triple.frame - key)) for r in each]
        for key, each in zip(triple.serving, routes, strict=True)
    ]


class Exam:
    """A key held aside: the network carries its neighbours to it, as it will when it renders, and is compared."""

    def __init__(self, triple: Triple, routes: Sequence[Sequence[Route]], counted: NDArray[np.bool_] | None) -> None:
        """Args: counted: (H, W) the pixels that count; None: all."""
        self.frame = triple.frame
        frames = (triple.frame, *triple.serving)
        ends = {frame: triple.lightness[frame] for frame in frames}
        self._triple = replace(triple, lightness=ends, props=dict(triple.props))
        self._routes = [list(each) for each in routes]
        self._counted = counted

    def decibels(self, network: AlignedFusion) -> float:
        """PSNR of ab against 100; no number where the network's result is none."""
        found = self._carried(network)
        furthest = UNIT * _FURTHEST
        error = np.clip(found, -furthest, furthest) - np.clip(self._triple.props[self.frame], -furthest, furthest)
        squared = np.square(error, dtype=np.float64).mean(axis=2)
        counted = squared if self._counted is None else squared[self._counted]
        return float(10 * np.log10(float(UNIT) ** 2 / (counted.mean() + 1e-6)))

    def _carried(self, network: AlignedFusion) -> Image:
        candidates, light, keys = seen_along(self._triple, self._routes), self._light, _keys(self._triple)
        fused = fuse([one for each in candidates for one in each], light)
        if not self._triple.reduced:
            return carry_aligned(network, candidates, fused, light, keys)[0]
        (mixture,) = mix_observed(network, [observe(candidates, fused, light, keys)], [candidates])
        return at_full_size(mixture, full_size_keys([(prop, at) for at, prop in keys]), light, 1)[0]

    @property
    def _light(self) -> Image:
        return self._triple.lightness[self.frame]


class Lesson:
    """A key to learn from: all that the network is shown of it, at the network's own resolution, in half floats."""

    def __init__(self, triple: Triple, candidates: list[list[Candidate]], *, cells: Sequence[Window] = ()) -> None:
        """Args: cells: where crops may lie, top, left, bottom, right as the network sees them; none: everywhere."""
        light, keys = triple.lightness[triple.frame], _keys(triple)
        factor = triple.factor
        fused = fuse([one for each in candidates for one in each], light)
        planes = observe(candidates, fused, light, keys)
        truth = np.moveaxis(triple.props[triple.frame] / UNIT, 2, 0)
        squared = np.square(_shown("", np.moveaxis(fused.filled / UNIT, 2, 0) - truth, factor)).sum(axis=0)
        self._truth = _stored("truth", truth, factor)
        self._distance = planes["distance"]
        # planes with a place for each key, or each of its routes
        self._stacks = {name: _stored(name, plane, factor) for name, plane in planes.items() if plane.ndim == 4}
        # planes of the target alone, by the keys that were there to make them
        everyone = tuple(range(len(candidates)))
        self._soft = {everyone: _soft(planes, factor)}
        for k in everyone if len(everyone) > 1 else ():
            alone = observe([candidates[k]], fuse(candidates[k], light), light, [keys[k]])
            self._soft[k,] = _soft(alone, factor)
        height, width = self._truth.shape[1:]
        self._cells = list(cells) or [(0, 0, height, width)]
        self._places = _places(squared, self._cells)

    def crop(self, rng: np.random.Generator, size: int, lonely: float) -> dict[str, Image]:
        """Draws the planes of `Inputs` and `truth` (2, h, w), ab / 100; h and w are `size`, or less where cells are.

        Args:
            rng: decides everything.
            size: a multiple of 16.
            lonely: how often there is one key only.
        """
        order = max(self._soft, key=len)
        if len(order) > 1:
            order = order[::-1] if rng.random() < 0.5 else order
            order = order[:1] if rng.random() < lonely else order
        rows, columns = self._window(rng, size)
        soft = {**self._soft[tuple(sorted(order))], "truth": self._truth}
        out = {name: np.asarray(plane[:, rows, columns], np.float32) for name, plane in soft.items()}
        for name, stack in self._stacks.items():
            out[name] = _in_order(np.asarray(stack[..., rows, columns], np.float32), order, missing=0)
        out["distance"] = _in_order(self._distance, order, missing=1)
        return mirrored(out, across=rng.random() < 0.5, down=rng.random() < 0.2)

    def _window(self, rng: np.random.Generator, size: int) -> tuple[slice, slice]:
        """Around a block drawn by its error, within the cell that holds the block."""
        blocks, chances = self._places
        row, column, cell = blocks[rng.choice(len(blocks), p=chances)]
        at = []
        for axis, block in enumerate((row, column)):
            # the smallest cell decides, so that all crops of a batch are of one size
            side = min(size, *(c[axis + 2] - c[axis] for c in self._cells))
            first, last = self._cells[cell][axis], self._cells[cell][axis + 2] - side
            centre = (block + rng.random()) * MULTIPLE + rng.uniform(-0.4, 0.4) * side
            start = int(np.clip(centre - side / 2, first, last))
            at.append(slice(start, start + side))
        return at[0], at[1]


def checkerboard(height: int, width: int, *, reduced: bool = False) -> tuple[list[Window], NDArray[np.bool_]]:
    """Divides a picture into cells to learn from and cells to be judged by; `reduced` as in `Triple`.

    Returns:
        The windows to learn from (top, left, bottom, right) as the network sees the picture, and the pixels (H, W) of
        all others.

    Raises:
        ValueError: the picture has fewer than 17 pixels either way.
    """
    factor = shown_factor(height, width, reduced=reduced)
    sides = [-(-length // (factor * MULTIPLE)) for length in (height, width)]
    counts = [min(max(side * MULTIPLE // _CELL, 1), _MOST_CELLS) for side in sides]
    if counts == [1, 1]:
        if max(sides) < 2:
            raise ValueError(f"expected a picture of more than {MULTIPLE} pixels one way, got {width} x {height}")
        counts[int(sides[1] > sides[0])] = 2
    rows, columns = (np.linspace(0, side, n + 1).astype(int) * MULTIPLE for side, n in zip(sides, counts, strict=True))
    learned, judged = [], np.zeros((height, width), bool)
    for i, (top, bottom) in enumerate(pairwise(rows)):
        for j, (left, right) in enumerate(pairwise(columns)):
            if (i + j) % 2:
                judged[top * factor : bottom * factor, left * factor : right * factor] = True
            else:
                learned.append((int(top), int(left), int(bottom), int(right)))
    return learned, judged


def _keys(triple: Triple) -> list[tuple[Image, Image]]:
    return [(triple.lightness[key], triple.props[key]) for key in triple.serving]


def _soft(planes: dict[str, Image], factor: int) -> dict[str, Half]:
    return {name: _stored(name, plane, factor) for name, plane in planes.items() if plane.ndim == 3}


def _stored(name: str, plane: Image, factor: int) -> Half:
    small = _shown(name, plane, factor)
    far = np.float32(np.finfo(np.float16).max) if name in _LENGTHS else _FURTHEST
    return np.asarray(np.clip(small, -far, far), np.float16)


def _shown(name: str, plane: Image, factor: int) -> Image:
    """A plane (..., H, W) as the network is shown it: edges repeated, smaller by area; lengths shrink too."""
    height, width = plane.shape[-2:]
    more = [(0, -length % (factor * MULTIPLE)) for length in (height, width)]
    plane = np.pad(plane, [(0, 0)] * (plane.ndim - 2) + more, mode="edge")
    if factor == 1:
        return plane
    height, width = (length // factor for length in plane.shape[-2:])
    small = plane.reshape(*plane.shape[:-2], height, factor, width, factor).mean(axis=(-3, -1))
    return np.asarray(small / factor if name in _LENGTHS else small, np.float32)


def _places(squared: Image, cells: list[Window]) -> tuple[list[tuple[int, int, int]], NDArray[np.float64]]:
    """Blocks (row, column, index of the cell) that a crop may be drawn around, and how often each is."""
    height, width = (length // MULTIPLE for length in squared.shape)
    error = squared.reshape(height, MULTIPLE, width, MULTIPLE).mean(axis=(1, 3), dtype=np.float64)
    blocks = [
        (row, column, index)
        for index, cell in enumerate(cells)
        for row in range(cell[0] // MULTIPLE, cell[2] // MULTIPLE)
        for column in range(cell[1] // MULTIPLE, cell[3] // MULTIPLE)
    ]
    chances = np.array([error[row, column] for row, column, _ in blocks])
    chances = np.minimum(chances, 1.0) + 0.25 * chances.mean() + 1e-5
    return blocks, chances / chances.sum()


def _in_order(stack: Image, order: tuple[int, ...], *, missing: float) -> Image:
    """A stack with the places of the keys in this order; those of other keys come last and hold `missing`."""
    out, each = np.full_like(stack, missing), len(stack) // KEYS
    for place, key in enumerate(order):
        out[place * each : (place + 1) * each] = stack[key * each : (key + 1) * each]
    return out
