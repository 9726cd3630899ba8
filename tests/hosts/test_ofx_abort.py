"""How the OpenFX plugin gives up a frame, and shows how far it is. By a stand-in worker."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ofx_host import Effect, Host, loaded
from ofx_images import Array, pictures
from ofx_shots import connect, status_of_render

FRAMES = (1001, 1041)

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the stand-in worker needs memfd and /proc"
)


@pytest.fixture
def bundle_here(configured: Callable[..., Path], stand: Any) -> Path:
    return configured(stand.python)


@pytest.fixture
def host(bundle_here: Path) -> Iterator[Host]:
    with loaded(bundle_here) as found:
        yield found


@pytest.fixture
def node(host: Host) -> Effect:
    return connect(host.create(), frames=FRAMES)


def render(node: Effect, frame: int = 1010) -> Array | None:
    """A frame."""
    return node.render(frame, pictures(1)(frame))


# ---------------------------------------------------------------- giving up


@pytest.mark.parametrize("order", ["slow 20", "late 20"])
def test_an_aborted_frame_ends_at_once_and_without_a_message(host: Host, node: Effect, stand: Any, order: str) -> None:
    assert render(node, 1011) is not None
    node["weights"] = order
    begun = time.monotonic()
    node.aborting = lambda: time.monotonic() - begun > 0.3
    assert status_of_render(node, 1030) == 0
    assert time.monotonic() - begun < 2
    assert host.messages == []
    node.aborting = lambda: False
    node["weights"] = ""
    assert render(node) is not None
    assert len({found["thread"] for found in stand.record("job")}) == 1, "the connection is kept"


def test_an_abort_before_anything_is_asked_for(host: Host, node: Effect, stand: Any) -> None:
    node.aborting = lambda: True
    assert status_of_render(node, 1010) == 0
    assert stand.pids() == []


def test_an_abort_while_the_worker_comes_up(
    host: Host, node: Effect, stand: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STPN_FAKE", "sleepy 1")
    begun = time.monotonic()
    node.aborting = lambda: time.monotonic() - begun > 0.4
    assert status_of_render(node, 1010) == 0
    assert time.monotonic() - begun < 0.9
    node.aborting = lambda: False
    assert render(node) is not None, host.complaint
    assert host.messages == []


# ---------------------------------------------------------------- progress


@pytest.mark.parametrize("version", [1, 2])
def test_progress_is_shown_when_a_frame_takes_long(bundle_here: Path, version: int) -> None:
    with loaded(bundle_here, progress=version) as host:
        node = connect(host.create(), frames=FRAMES)
        node["weights"] = "slow 0.5"
        assert render(node) is not None
        assert host.progress == []
        node["weights"] = "slow 2.4"
        assert render(node) is not None
        assert host.progress[0] == ("start", "STPN Propagate: frame 1010")
        assert host.progress[-1] == ("end", None)
        done = [value for what, value in host.progress if what == "update"]
        assert done == sorted(done)
        assert 0.8 < done[0] < done[-1] <= 1


def test_an_aborted_host_that_gives_no_image_is_no_error(host: Host, node: Effect) -> None:
    def gone(time: float) -> None:
        node.aborting = lambda: True

    node.clips["Source"].picture = gone
    assert status_of_render(node, 1010) == 0
    assert host.messages == []


def test_progress_can_be_cancelled(host: Host, node: Effect) -> None:
    host.cancel_in_progress = True
    node["weights"] = "slow 20"
    begun = time.monotonic()
    # the host itself has not aborted, and would keep the output for a frame
    assert status_of_render(node, 1010) == 1
    assert time.monotonic() - begun < 4
    assert [what for what, _ in host.progress] == ["start", "update", "end"]
    assert host.messages == []


def test_no_progress_in_the_background(bundle_here: Path) -> None:
    with loaded(bundle_here, properties={"OfxImageEffectHostPropIsBackground": 1}) as host:
        node = connect(host.create(), frames=FRAMES)
        node["weights"] = "slow 2.2"
        assert render(node) is not None
        assert host.progress == []
