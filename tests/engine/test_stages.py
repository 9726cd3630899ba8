"""Stages add up what each took, and leave out what was taken by stages within."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from stpn.engine.stages import listened, stage


def busy(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_stage_within_another_is_left_out_of_it() -> None:
    with listened() as stages:
        with stage("outer"):
            busy(0.02)
            with stage("inner"):
                busy(0.06)
                time.sleep(0.05)
        with stage("outer"):
            busy(0.02)
    outer, inner = stages.by_name["outer"], stages.by_name["inner"]
    assert (outer.calls, inner.calls) == (2, 1)
    assert outer.cpu == pytest.approx(0.04, abs=0.015)
    assert inner.cpu == pytest.approx(0.06, abs=0.015)
    assert inner.wall >= 0.109
    assert outer.wall >= 0.039


def test_threads_are_added_up_and_do_not_mix() -> None:
    def work(name: str) -> None:
        with stage(name):
            busy(0.02)

    with listened() as stages, ThreadPoolExecutor(4) as pool:
        list(pool.map(work, ["a", "b"] * 4))
    assert {name: found.calls for name, found in stages.by_name.items()} == {"a": 4, "b": 4}
    assert all(found.cpu == pytest.approx(0.08, abs=0.02) for found in stages.by_name.values())


def test_nothing_is_kept_where_nobody_listens() -> None:
    with listened() as stages:
        pass
    with stage("later"):
        busy(0.001)
    assert stages.by_name == {}


def test_a_stage_that_fails_counts_too() -> None:
    with listened() as stages, pytest.raises(ValueError, match="broken"), stage("failing"):
        raise ValueError("broken")
    assert stages.by_name["failing"].calls == 1
