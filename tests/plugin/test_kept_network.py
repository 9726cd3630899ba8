"""`stpn analyse --property mask --adapt`: the network is adapted once, and chunks take it where it fits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from stpn.engine import weights
from stpn.engine.properties.mask_network import MaskConfig, MaskRefiner
from stpn.engine.training import mask_adaptation
from stpn.plugin.cli import main
from stpn.plugin.kept_network import kept_path


@pytest.fixture(autouse=True)
def _small(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A small network in place of the one that is shipped, and one dream, so that seconds suffice."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "mask.safetensors"
    weights.save_network(path, MaskRefiner(MaskConfig((4, 8, 8, 8, 12), 8)), {})
    monkeypatch.setattr(weights, "shipped", lambda name: path)
    monkeypatch.setattr(mask_adaptation, "_DREAMS", 1)
    monkeypatch.setattr(mask_adaptation, "_LEARNING_RATE", 2e-2)
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.fixture
def shot(studio: Any) -> Any:
    """A plate of 1001-1005 in which a bright square moves; 1001 and 1005 are keys."""
    studio.shape = (48, 64)
    for frame in range(1001, 1006):
        matte = np.zeros((48, 64), np.float16)
        matte[1019 - frame : 1035 - frame, 2032 - 2 * frame : 2050 - 2 * frame] = 1
        studio.write(f"plate.{frame}.exr", studio.channels(studio.light(frame) * 0.5 + matte))
        if frame in (1001, 1005):
            studio.write(f"key.{frame}.exr", {"A": matte})
    return studio


def options(**more: Any) -> dict[str, Any]:
    return {"property": "mask", "adapt": "2steps", "threads": 1, **more}


def analysed(shot: Any, *more: str) -> None:
    assert main(["analyse", *shot.arguments("--property", "mask", "--adapt", "2steps", *more)[1:]]) == 0


def test_chunks_take_the_network_and_are_as_one_run_without_it(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shot.render(**options())
    whole = shot.contents("out.")
    analysed(shot)
    network = kept_path(shot.folder / "out.analysis.json")
    assert network.name == "out.analysis.safetensors"
    assert network.stat().st_mode & 0o777 == (shot.folder / "out.analysis.json").stat().st_mode & 0o777

    def again(*_: object) -> None:
        raise AssertionError("the network is adapted again")

    monkeypatch.setattr(mask_adaptation, "adapt_mask_network", again)
    done = []
    for chunk in ("1001-1002", "1003-1005"):
        more = {"output": "c.####.exr", "analysis": str(shot.folder / "out.analysis.json"), "skip_existing": True}
        done += shot.render(**options(frames=chunk, **more))
        assert {frame.status for frame in shot.render(**options(frames=chunk, **more))} == {"skipped"}
    assert len(done) == 5
    assert shot.contents("c.") == whole
    # files of one that had it are those of one that had not
    assert {frame.status for frame in shot.render(**options(frames="1001,1005", skip_existing=True))} == {"skipped"}


@pytest.mark.parametrize("what", ["missing", "damaged", "of other keys", "of other steps", "no weights"])
def test_a_network_that_does_not_fit_is_not_taken(shot: Any, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    analysed(shot)
    network = shot.folder / "out.analysis.safetensors"
    more = {}
    if what == "missing":
        network.unlink()
    elif what == "damaged":
        content = bytearray(network.read_bytes())
        content[-5] ^= 1
        network.write_bytes(content)
    elif what == "of other keys":
        pixels = shot.pixels("key.1005.exr")["A"]
        shot.write("key.1005.exr", {"A": pixels * np.float16(0.75)})
    elif what == "of other steps":
        more["adapt"] = "3steps"
    else:
        network.write_text("nothing")
    made = []
    honest = mask_adaptation.adapt_mask_network
    monkeypatch.setattr(mask_adaptation, "adapt_mask_network", lambda *args: made.append(1) or honest(*args))
    shot.render(**options(frames="1003", analysis=str(shot.folder / "out.analysis.json"), **more))
    assert made == [1]


def test_where_nothing_is_carried_no_network_is_kept(shot: Any) -> None:
    analysed(shot, "--frames", "1001,1005")
    assert not (shot.folder / "out.analysis.safetensors").exists()
