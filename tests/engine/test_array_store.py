"""Arrays that do not fit into memory lie in a file, and come back as they were."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stpn.engine.array_store import ArrayStore
from stpn.engine.carriers import FlowCarrier, Key

Array = np.ndarray[Any, Any]


def arrays(count: int) -> list[Array]:
    made = np.random.default_rng(0)
    return [made.standard_normal((3 + n, 5, 2)).astype(np.float32 if n % 2 else np.float64) for n in range(count)]


@pytest.mark.parametrize("most", [0, 700, 1 << 20])
def test_everything_comes_back_bit_for_bit(most: int) -> None:
    store, given = ArrayStore(most), arrays(20)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: store.__setitem__(("flow", n), given[n]), range(20)))
        found = list(pool.map(lambda n: store["flow", n % 20], range(100)))
    for n, array in enumerate(found):
        assert (array.dtype, array.shape) == (given[n % 20].dtype, given[n % 20].shape)
        assert array.tobytes() == given[n % 20].tobytes()


def test_what_is_not_there_is_an_error() -> None:
    store = ArrayStore(0)
    store[1] = np.ones(3)
    with pytest.raises(KeyError):
        store[2]


def test_the_file_has_no_name_and_goes_with_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    store = ArrayStore(0)
    store["a"] = np.ones((100, 100))
    assert list(tmp_path.iterdir()) == []
    del store
    assert not before or len(os.listdir("/proc/self/fd")) == before


def test_motion_that_does_not_fit_is_the_same(textures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    texture = textures(48, 64, 1, 5)
    light = {n: (50 + 15 * texture.moved(2.0 * n, 0)).astype(np.float32) for n in range(5)}
    keys = [Key(n, np.dstack([light[n], -light[n]])) for n in (0, 4)]
    whole = FlowCarrier(keys, light, [1, 2, 3]).carry(2)
    monkeypatch.setattr("stpn.engine.array_store.MOST_BYTES", 0)
    spilled = FlowCarrier(keys, light, [1, 2, 3]).carry(2)
    assert [array.tobytes() for array in spilled] == [array.tobytes() for array in whole]
