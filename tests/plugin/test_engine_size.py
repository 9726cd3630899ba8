"""Engines are built for the size at which a render shows its network a plate."""

from __future__ import annotations

from typing import Any

import numpy as np
import OpenImageIO as oiio
import pytest

from stpn.engine import aligned, working_size
from stpn.engine.aligned_network import AlignedFusion
from stpn.engine.backends.engine_build import network_size
from stpn.engine.network import SwitchableTPN


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plate of 120 pixels is a large one."""
    monkeypatch.setattr(working_size, "LONG_SIDE", 40)
    monkeypatch.setattr(aligned, "LONG_SIDE", 45)
    monkeypatch.setattr(aligned, "MIXED_LONG_SIDE", 20)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, tuple[int, ...]]]:
    """Networks and the sizes of what they were shown."""
    found: list[tuple[Any, tuple[int, ...]]] = []
    weigh, carry = AlignedFusion.forward, SwitchableTPN.carry

    def weighing(self: Any, x: Any) -> Any:
        found.append((self, tuple(x.lightness.shape[-2:])))
        return weigh(self, x)

    def carrying(self: Any, prop: Any, gates: Any) -> Any:
        found.append((self, tuple(prop.shape[-2:])))
        return carry(self, prop, gates)

    monkeypatch.setattr(AlignedFusion, "forward", weighing)
    monkeypatch.setattr(SwitchableTPN, "carry", carrying)
    return found


@pytest.mark.parametrize(("prop", "method"), [("color", "aligned"), ("color", "stpn"), ("hdr", "aligned")])
def test_a_plate_is_shown_at_the_size_of_its_engine(studio: Any, shown: Any, prop: str, method: str) -> None:
    studio.shape = (50, 120)
    studio.keys()
    options = {"property": prop, "method": method, "frames": "1003", "cuts": "none", "threads": 1}
    if prop == "hdr":
        for frame in range(1001, 1006):
            codes = np.rint(np.clip(studio.rgb(frame), 0, 1) ** 0.45 * 255).astype(np.uint8)
            picture = oiio.ImageBuf(np.ascontiguousarray(codes))
            assert picture.write(str(studio.folder / f"plate.{frame}.png")), picture.geterror()
        options["plate"] = "plate.####.png"
    else:
        studio.plate()
    studio.render(**options)
    assert shown
    for network, size in shown:
        assert size == network_size(network, *studio.shape)
