"""`--property hdr` on plates beyond the working size: the same files whatever is rendered at once, little in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import OpenImageIO as oiio
import pytest

from stpn.engine import working_size
from stpn.plugin.properties import hdr
from stpn.plugin.properties.hdr import Hdr
from stpn.plugin.reading import Reader

GAIN = 2.0


@pytest.fixture
def shot(studio: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An 8-bit plate of 1001-1007 that counts as large, and scene-linear keys at 1001 and 1007."""
    monkeypatch.setattr(working_size, "LONG_SIDE", 40)
    studio.shape = (65, 81)
    for frame in range(1001, 1008):
        code = np.rint(np.clip(GAIN * studio.rgb(frame), 0, 1) ** 0.45 * 255).astype(np.uint8)
        picture = oiio.ImageBuf(np.ascontiguousarray(code))
        assert picture.write(str(studio.folder / f"plate.{frame}.png")), picture.geterror()
    for frame in (1001, 1007):
        studio.write(f"key.{frame}.exr", studio.channels(GAIN * studio.rgb(frame)))
    return studio


def options(**more: Any) -> dict[str, Any]:
    return {"property": "hdr", "plate": "plate.####.png", "method": "flow", "cuts": "none", "threads": 2, **more}


@pytest.mark.parametrize("curve", [None, "Gamma 2.2 Encoded Rec.709"], ids=["fitted", "known"])
def test_chunks_are_one_run(shot: Any, curve: str | None) -> None:
    more = options(ldr_curve=curve)
    shot.render(**more, confidence="sure.####.exr")
    whole = {**shot.contents("out."), **{f"sure.{k}": v for k, v in shot.contents("sure.").items()}}
    for frames in ("1003", "1002,1005-1006"):
        chunk = {"frames": frames, "output": "a/out.####.exr", "confidence": "a/sure.####.exr", "threads": 1}
        shot.render(**{**more, **chunk})
    chunks = shot.contents("a/")
    assert len(chunks) == 8
    for name, data in chunks.items():
        assert whole[name.removeprefix("out.")] == data
    truth, found = GAIN * shot.rgb(1004)[8:-8, 8:-8], shot.image("out.1004.exr")[8:-8, 8:-8]
    clipped = truth.max(axis=2) > 1.2
    off = np.abs(np.log(found + 0.01) - np.log(truth + 0.01))
    shown = np.abs(np.log(np.minimum(truth, 1) + 0.01) - np.log(truth + 0.01))
    assert off[clipped].mean() < 0.5 * shown[clipped].mean()
    assert off[~clipped].mean() < 0.03


def test_a_clipped_exr_plate(shot: Any) -> None:
    for frame in range(1001, 1008):
        shot.write(f"plate.{frame}.exr", shot.channels(np.minimum(GAIN * shot.rgb(frame), 1)))
    shot.render(**options(plate="plate.####.exr", frames="1004"))
    plate, found = shot.image("plate.1004.exr"), shot.image("out.1004.exr")
    known = plate.max(axis=2) < 0.9
    assert np.abs(found - plate)[known].mean() < 1e-3
    assert found.max() > 1.2


def test_the_papers_network_sees_plates_as_they_are(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    factors: list[int] = []
    honest = hdr.HdrCarrier

    def carrier(*args: Any, factor: int, **more: Any) -> Any:
        factors.append(factor)
        return honest(*args, factor=factor, **more)

    monkeypatch.setattr(hdr, "HdrCarrier", carrier)
    for method in ("stpn", "flow"):
        shot.render(**options(method=method, frames="1004"))
    assert factors == [1, 2]


def test_a_frame_is_read_once_for_motion_and_once_to_be_carried_to(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    honest = Reader.plate

    def plate(self: Reader, frame: int, use: Any) -> Any:
        if use.__name__ == "_stored":
            read.append(frame)
        return honest(self, frame, use)

    monkeypatch.setattr(Reader, "plate", plate)
    monkeypatch.setattr(Hdr, "wrong_keys", lambda *_: [])
    shot.render(**options(frames="1003,1005"))
    assert sorted(read) == [1001, 1002, 1003, 1003, 1004, 1005, 1005, 1006, 1007]
