"""Work on the rows of images, some bands of them at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

#: Below this many values a band, handing over to another thread costs more than it gives.
_VALUES_PER_BAND = 1 << 16


def over_rows(function: Callable[..., None], *images: npt.NDArray[Any], threads: int) -> None:
    """Runs `function` on bands of rows of all images, up to `threads` bands at once.

    Args:
        function: takes the bands, views of `images`, and writes into them; it has to release the GIL to gain anything.
        images: arrays with the same number of rows (first axis).
        threads: how many bands at most.
    """
    rows = images[0].shape[0]
    bands = max(1, min(threads, rows, images[0].size // _VALUES_PER_BAND))
    if bands == 1:
        function(*images)
        return
    parts = [np.array_split(image, bands) for image in images]
    with ThreadPoolExecutor(bands) as pool:
        for done in [pool.submit(function, *band) for band in zip(*parts, strict=True)]:
            done.result()
