"""Routes from a key frame to every frame around it, accumulated over the steps between neighbouring frames.

A route grows outwards from its key, one frame at a time, so that it depends on the frames between alone: any frame
computed by itself gets the same bits as in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import pairwise

import cv2
import numpy as np

from stpn.engine.alignment import Estimate, Guide8, Image, Route, chain, estimate_flow
from stpn.engine.array_store import ArrayStore

Steps = Mapping[tuple[int, int], Image] | ArrayStore


def guide8(lightness: Image) -> Guide8:
    """Lightness (0..100) as the 8 bits that motion is estimated on; what lies outside is clipped."""
    scaled = np.nan_to_num(lightness * np.float32(2.55), nan=0.0, posinf=255.0, neginf=0.0)
    return np.asarray(np.clip(np.rint(scaled), 0, 255), np.uint8)


def neighbour_steps(
    guides: Mapping[int, Guide8],
    parallel: Callable[..., Iterable[Image]] = map,
    estimate: Estimate = estimate_flow,
    into: ArrayStore | None = None,
) -> Steps:
    """Flows between all neighbouring frames, both ways: {(a, a + 1): flow a -> a + 1, (a + 1, a): ...}.

    Args:
        guides: a run of frames without holes.
        parallel: like `map`, or a pool's.
        estimate: of the motion between two frames.
        into: where they are kept; None: in memory.
    """
    # OpenCV's own threads would split DIS into stripes, and the result would depend on how many there are
    cv2.setNumThreads(1)
    frames = sorted(guides)
    pairs = [pair for a, b in pairwise(frames) for pair in ((a, b), (b, a))]
    flows = parallel(lambda pair: estimate(guides[pair[0]], guides[pair[1]], None), pairs)
    kept: dict[tuple[int, int], Image] | ArrayStore = {} if into is None else into
    for pair, flow in zip(pairs, flows, strict=True):
        kept[pair] = flow
    return kept


def routes_from(key: int, steps: Steps, towards: int) -> Iterator[tuple[int, Route]]:
    """Routes between a key and the frames from it up to and including `towards`, nearest first."""
    if towards == key:
        return
    way = 1 if towards > key else -1
    to_key, to_target = steps[key + way, key], steps[key, key + way]
    yield key + way, Route(to_key, to_target)
    for frame in range(key + 2 * way, towards + way, way):
        to_key = chain(steps[frame, frame - way], to_key)
        to_target = chain(to_target, steps[frame - way, frame])
        yield frame, Route(to_key, to_target)


class KeptRoutes:
    """Routes from a key to some frames, of any number, in bounded memory."""

    def __init__(self, key: int, steps: Steps, frames: Collection[int], store: ArrayStore) -> None:
        """Accumulates them.

        Args:
            key: its frame.
            steps: of `neighbour_steps`, from the key to each of the frames.
            frames: those that will be asked for; at least one.
            store: where they are kept.
        """
        self._key, self._store = key, store
        wanted = set(frames)
        last = max(wanted, key=lambda frame: abs(frame - key))
        for frame, route in routes_from(key, steps, last):
            if frame in wanted:
                store[key, frame, "to key"], store[key, frame, "to target"] = route.to_key, route.to_target

    def __getitem__(self, frame: int) -> Route:
        """The route between the key and a frame."""
        return Route(self._store[self._key, frame, "to key"], self._store[self._key, frame, "to target"])
