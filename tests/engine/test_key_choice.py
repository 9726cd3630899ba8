"""Which frames to paint next: the best ones, at least one in each shot, in the order of what they add."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpn.engine.expected_confidence import Reach
from stpn.engine.key_choice import Prospect, propose

Array = np.ndarray[Any, Any]


def reaches(shots: list[range], loss: Array, reach: int = 100, cells: tuple[int, int] = (2, 3)) -> dict[int, Reach]:
    """Confidence that falls with every frame between by that frame's loss (a share), in all cells alike."""
    found = {}
    for shot in shots:
        for key in shot:
            frames = range(max(shot.start, key - reach), min(shot.stop, key + reach + 1))
            lost = [loss[min(key, f) : max(key, f)].sum() for f in frames]
            sure = np.rint(255 * np.maximum(1 - np.array(lost), 0.02)).astype(np.uint8)
            found[key] = Reach(frames.start, np.repeat(sure[:, None], cells[0] * cells[1], axis=1), cells)
    return found


def prospect(frames: int, loss: Array | float = 0.02, cuts: tuple[int, ...] = ()) -> tuple[Prospect, list[range]]:
    ends = [0, *cuts, frames]
    shots = [range(a, b) for a, b in pairwise(ends)]
    return Prospect(range(frames), reaches(shots, np.broadcast_to(loss, frames))), shots


def test_a_curve_is_one_at_keys_and_falls_between() -> None:
    found, _ = prospect(11)
    curve = found.curve([0, 10])
    assert curve.shape == (11,)
    assert curve[[0, 10]].tolist() == [1, 1]
    assert (np.diff(curve[1:6]) < 0).all()
    np.testing.assert_allclose(curve, curve[::-1])
    assert found.curve([]).tolist() == [0] * 11


def test_two_keys_serve_better_than_the_better_one() -> None:
    found, _ = prospect(11)
    both = found.curve([0, 10])
    best = np.maximum(found.curve([0]), found.curve([10]))
    assert (both[1:10] > best[1:10]).all()
    # a hopeless one adds next to nothing
    assert both[1] == pytest.approx(best[1], abs=0.005)


def test_no_key_gives_anything_across_a_cut_or_beyond_its_reach() -> None:
    found, _ = prospect(10, cuts=(4,))
    assert found.curve([1])[4:].tolist() == [0] * 6
    assert found.curve([1, 8])[3] == found.curve([1])[3]
    short = Prospect(range(10), reaches([range(10)], np.full(10, 0.1), reach=3))
    assert (short.curve([2]) > 0).tolist() == [True] * 6 + [False] * 4


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_set_is_as_good_as_the_best_there_is(count: int, seed: int) -> None:
    loss = np.random.default_rng(seed).choice([0.0, 0.02, 0.2], 18)
    found, shots = prospect(18, loss)
    chosen = [proposal.frame for proposal in propose(found, shots, (4,), range(18), count)]
    assert len(chosen) == len(set(chosen)) == count
    assert 4 not in chosen
    others = [frame for frame in range(18) if frame != 4]
    best = max(found.curve([4, *extra]).mean() for extra in combinations(others, count))
    none = found.curve([4]).mean()
    assert found.curve([4, *chosen]).mean() - none >= 0.97 * (best - none)


def test_even_motion_gives_even_spacing() -> None:
    found, shots = prospect(30)
    frames = sorted(proposal.frame for proposal in propose(found, shots, (), range(30), 3))
    assert np.abs(np.array(frames) - [5, 15, 25]).max() <= 1


def test_painting_goes_where_motion_is_lost() -> None:
    loss = np.full(40, 0.002)
    loss[20:30] = 0.1
    found, shots = prospect(40, loss)
    (proposal,) = propose(found, shots, (0, 39), range(40), 1)
    assert 22 <= proposal.frame <= 28
    frames = [proposal.frame for proposal in propose(found, shots, (0, 39), range(40), 4)]
    assert sum(20 <= frame <= 30 for frame in frames) == 3


def test_every_shot_gets_a_key_before_anything_else() -> None:
    found, shots = prospect(40, cuts=(30, 33))
    proposals = propose(found, shots, (10,), range(40), 2)
    assert sorted(31 <= p.frame < 33 or p.frame == 30 for p in proposals) == [False, True]
    assert any(33 <= p.frame < 40 for p in proposals)
    # a target that is met already does not leave a shot without
    assert len(propose(found, shots, (10,), range(40), 9, target=0.1)) == 2


def test_proposals_come_in_the_order_of_what_they_add() -> None:
    found, shots = prospect(60, np.random.default_rng(5).uniform(0, 0.1, 60))
    proposals = propose(found, shots, (0,), range(60), 6)
    gains = [proposal.after.mean() - proposal.before.mean() for proposal in proposals]
    assert min(gains) > 0
    assert gains[0] == max(gains)
    np.testing.assert_array_equal(proposals[0].before, found.curve([0]))
    for a, b in pairwise(proposals):
        np.testing.assert_array_equal(a.after, b.before)
    painted = [0]
    for proposal in proposals:
        assert proposal.sure.shape == (2, 3)
        assert proposal.sure.dtype == np.uint8
        assert proposal.sure.mean() / 255 == pytest.approx(proposal.before[proposal.frame], abs=0.005)
        painted.append(proposal.frame)
    np.testing.assert_array_equal(proposals[-1].after, found.curve(painted))


def test_a_target_takes_as_many_as_it_needs() -> None:
    found, shots = prospect(40)
    start = float(found.curve([0]).mean())
    assert propose(found, shots, (0,), range(40), 40, target=start) == []
    proposals = propose(found, shots, (0,), range(40), 40, target=0.9)
    assert proposals[-1].after.mean() >= 0.9
    one_less = propose(found, shots, (0,), range(40), len(proposals) - 1)
    assert len(proposals) == 1 or one_less[-1].after.mean() < 0.93
    assert len(propose(found, shots, (0,), range(40), 2, target=0.99)) == 2


def test_only_candidates_are_proposed_and_no_more_than_there_are() -> None:
    found, shots = prospect(20)
    assert {p.frame for p in propose(found, shots, (), (3, 9), 5)} == {3, 9}
    assert propose(found, shots, (3, 9), (3, 9), 5) == []


@given(st.integers(1, 12), st.sets(st.integers(0, 11)), st.sets(st.integers(1, 11)), st.integers(1, 4))
def test_more_keys_never_hurt(frames: int, keys: set[int], cuts: set[int], count: int) -> None:
    keys = {key for key in keys if key < frames}
    found, shots = prospect(frames, 0.07, tuple(sorted(cut for cut in cuts if cut < frames)))
    proposals = propose(found, shots, keys, range(frames), count)
    assert len(proposals) == min(count, frames - len(keys))
    for proposal in proposals:
        assert proposal.after.mean() > proposal.before.mean()
        assert proposal.after[proposal.frame] == 1
        assert ((proposal.after >= 0) & (proposal.after <= 1)).all()
