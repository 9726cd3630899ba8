"""Fine-tuning on a shot's own keys: what is learned from, what is held aside, and what is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch

from stpn.engine import aligned
from stpn.engine.aligned_network import AlignedConfig, AlignedFusion, Inputs, Outputs
from stpn.engine.carriers import AlignedCarrier, Key
from stpn.engine.full_size import FullSizeCarrier, full_size_keys
from stpn.engine.training import adaptation_material
from stpn.engine.training.adaptation import Amount, Division, Moment, Settings, Stopped, adapt, divide
from stpn.engine.training.adaptation_material import Exam, Lesson, Motion, Triple, checkerboard, seen_along

Array = np.ndarray[Any, Any]
SMALL = AlignedConfig(candidate_channels=4, widths=(8, 8, 8, 8), spreads=2, heads=2, match_channels=4)
QUICK = Settings(learning_rate=2e-2, batch=2, crop=48)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def shot(textures: Any) -> Any:
    """Makes triples of a moving scene with a key every two frames, the first at 0."""

    def make(keys: int, height: int = 48, width: int = 64, serving: slice = slice(None)) -> list[Triple]:
        light, colors = textures(height, width, 1, 5), [textures(height, width, seed, 9) for seed in (9, 10)]

        def lightness(frame: int) -> Array:
            return (50 + 15 * light.moved(1.5 * frame, 0.5 * frame)).astype(np.float32)

        def prop(frame: int) -> Array:
            return np.dstack([20 * color.moved(1.5 * frame, 0.5 * frame) for color in colors]).astype(np.float32)

        return [
            Triple(
                key,
                (key - 2, key + 2)[serving],
                {frame: lightness(frame) for frame in range(key - 2, key + 3)},
                {frame: prop(frame) for frame in (key - 2, key, key + 2)},
            )
            for key in range(2, 2 * (keys - 1), 2)
        ]

    return make


def network(*, spoiled: bool) -> AlignedFusion:
    """Untrained, it is close to `flow`; spoiled, it takes fills everywhere, and not the best of them."""
    torch.manual_seed(1)
    made = AlignedFusion(SMALL).eval()
    if spoiled:
        with torch.no_grad():
            made.steer.bias[0] = 3
            made.steer.bias[made.per_spread :: made.per_spread] = 4
    return made


def bits(of: AlignedFusion) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in of.state_dict().items()}


def division(triples: Sequence[Triple]) -> Division:
    light = triples[0].lightness[triples[0].frame]
    return divide([triple.frame for triple in triples], *light.shape)


class Recorder(AlignedFusion):
    """Keeps what it is shown."""

    def forward(self, x: Inputs) -> Outputs:
        self.shown = x
        return super().forward(x)


class Still:
    """In place of a random generator: no chance at all, or the same one always."""

    def __init__(self, chance: float) -> None:
        self._chance = chance

    def random(self) -> float:
        return self._chance

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2

    def choice(self, count: int, p: Array) -> int:
        assert p.sum() == pytest.approx(1)
        return 0


@pytest.mark.parametrize("long_side", [512, 32], ids=["as it is", "smaller"])
@pytest.mark.parametrize("serving", [slice(None), slice(1), slice(1, 2)], ids=["both", "previous", "next"])
def test_what_is_learned_from_is_what_the_network_is_shown_in_a_render(
    shot: Any, serving: slice, long_side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aligned, "LONG_SIDE", long_side)
    (triple,) = shot(3, 40, 72, serving)
    keys = [Key(key, triple.props[key]) for key in triple.serving]
    recorder = Recorder(SMALL)
    AlignedCarrier(keys, triple.lightness, [2], recorder).carry(2)
    lesson = Lesson(triple, seen_along(triple, Motion().routes(triple)))
    crop = lesson.crop(Still(0.99), 512, lonely=0)  # type: ignore[arg-type]
    assert crop.pop("truth").shape == (2, *recorder.shown.lightness.shape[-2:])
    assert set(crop) == {name for name, plane in vars(recorder.shown).items() if plane is not None}
    for name, plane in crop.items():
        expected = getattr(recorder.shown, name)[0].numpy()
        np.testing.assert_allclose(plane, expected, rtol=2e-3, atol=2e-3, err_msg=name)


def as_reduced(triple: Triple, monkeypatch: pytest.MonkeyPatch) -> Triple:
    """As if it were a larger plate at the working size."""
    monkeypatch.setattr(aligned, "MIXED_LONG_SIDE", 36)
    return replace(triple, reduced=True)


def test_of_a_larger_plate_it_learns_what_is_shown_at_the_working_size(
    shot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    triple = as_reduced(shot(3, 40, 72)[0], monkeypatch)
    keys = [Key(key, triple.props[key]) for key in triple.serving]
    recorder = Recorder(SMALL)
    AlignedCarrier(keys, triple.lightness, [2], recorder, quickly=True).mixtures([2])
    crop = Lesson(triple, seen_along(triple, Motion().routes(triple))).crop(Still(0.99), 512, lonely=0)  # type: ignore[arg-type]
    assert crop.pop("truth").shape == (2, 32, 48)
    for name, plane in crop.items():
        expected = getattr(recorder.shown, name)[0].numpy()
        np.testing.assert_allclose(plane, expected, rtol=2e-3, atol=2e-3, err_msg=name)


def test_of_a_larger_plate_it_is_judged_by_what_would_be_mixed(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    triple, net = as_reduced(shot(3, 40, 72)[0], monkeypatch), network(spoiled=True)
    keys = [Key(key, triple.props[key]) for key in triple.serving]
    mixing = AlignedCarrier(keys, triple.lightness, [2], net, quickly=True)
    packed = full_size_keys([(key.prop, triple.lightness[key.frame]) for key in keys])
    values, _ = FullSizeCarrier(mixing, packed, triple.lightness.__getitem__, 1).carry(2)
    expected = 10 * np.log10(1e4 / np.square(values - triple.props[2]).mean())
    assert Exam(triple, Motion().routes(triple), None).decibels(net) == pytest.approx(expected, abs=1e-3)


def test_crops_come_with_the_keys_swapped_mirrored_and_with_one_key(shot: Any) -> None:
    (triple,) = shot(3)
    lesson = Lesson(triple, seen_along(triple, Motion().routes(triple)))
    plain = lesson.crop(Still(0.99), 512, lonely=0)  # type: ignore[arg-type]
    turned = lesson.crop(Still(0.0), 512, lonely=0)  # type: ignore[arg-type]
    both = np.s_[..., ::-1, ::-1]
    for name in ("lightness", "blend", "truth"):
        np.testing.assert_array_equal(turned[name], plain[name][both])
    for name in ("values", "weights"):
        np.testing.assert_array_equal(turned[name], plain[name][[2, 3, 0, 1]][both])
    for name in ("flow", "error"):
        np.testing.assert_array_equal(turned[name], -plain[name][[2, 3, 0, 1]][both])
    np.testing.assert_array_equal(turned["key_values"], plain["key_values"][::-1][both])

    alone = lesson.crop(Still(0.0), 512, lonely=1)  # type: ignore[arg-type]
    later = Triple(triple.frame, triple.serving[1:], triple.lightness, triple.props)
    expected = Lesson(later, seen_along(later, Motion().routes(later))).crop(Still(0.0), 512, lonely=0)  # type: ignore[arg-type]
    assert alone.keys() == expected.keys()
    for name, plane in alone.items():
        np.testing.assert_array_equal(plane, expected[name], err_msg=name)
    assert not alone["weights"][2:].any()


def test_crops_lie_in_their_cells(shot: Any) -> None:
    (triple,) = shot(3, 48, 96)
    routes = Motion().routes(triple)
    cells = [(0, 32, 32, 64), (16, 64, 48, 96)]
    lesson = Lesson(triple, seen_along(triple, routes), cells=cells)
    whole = np.moveaxis(triple.props[2] / 100, 2, 0).astype(np.float16).astype(np.float32)
    seen = set()
    for seed in range(8):
        truth = lesson.crop(np.random.default_rng(seed), 16, 0.1)["truth"]
        assert truth.shape == (2, 16, 16)
        places = [
            (i, j)
            for i in range(33)
            for j in range(32, 81)
            for turned in (truth, truth[..., ::-1], truth[:, ::-1], truth[:, ::-1, ::-1])
            if (whole[:, i, j] == turned[:, 0, 0]).all() and (whole[:, i : i + 16, j : j + 16] == turned).all()
        ]
        assert len(places) == 1
        inside = [c[0] <= i <= c[2] - 16 and c[1] <= j <= c[3] - 16 for i, j in places for c in cells]
        assert sum(inside) == 1
        seen.add(inside.index(True))
    assert seen == {0, 1}


def test_motion_that_two_triples_share_is_estimated_once(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    triples = shot(4)
    asked = []
    honest = adaptation_material.neighbour_steps

    def counted(guides: Any, *args: Any) -> Any:
        asked.append(min(guides))
        return honest(guides, *args)

    monkeypatch.setattr(adaptation_material, "neighbour_steps", counted)
    motion = Motion()
    shared = [motion.routes(triple) for triple in triples]
    assert asked == [0, 2, 4]
    for triple, found in zip(triples, shared, strict=True):
        for one, expected in zip(chain(*found), chain(*Motion().routes(triple)), strict=True):
            np.testing.assert_array_equal(one.to_key, expected.to_key)
            np.testing.assert_array_equal(one.to_target, expected.to_target)
    # the same frames in another light are other frames
    changed = Triple(4, (2, 6), {f: 0.9 * light for f, light in triples[1].lightness.items()}, triples[1].props)
    motion = Motion()
    motion.routes(triples[0])
    asked.clear()
    motion.routes(changed)
    assert asked == [2, 4]


def test_a_key_held_aside_is_carried_to_as_in_a_render(shot: Any) -> None:
    (triple,) = shot(3)
    net = network(spoiled=True)
    keys = [Key(key, triple.props[key]) for key in triple.serving]
    found, _ = AlignedCarrier(keys, triple.lightness, [2], net).carry(2)
    squared = ((found - triple.props[2]) ** 2).mean(axis=2)
    counted = np.zeros(squared.shape, bool)
    counted[:20, 5:30] = True
    routes = Motion().routes(triple)
    for pixels in (None, counted):
        expected = 10 * np.log10(1e4 / (squared.mean() if pixels is None else squared[pixels].mean()))
        assert Exam(triple, routes, pixels).decibels(net) == pytest.approx(expected, abs=1e-4)


def test_adapting_mends_a_spoiled_network_and_leaves_the_given_one(shot: Any) -> None:
    triples, spoiled = shot(5), network(spoiled=True)
    moments: list[Moment] = []
    before = bits(spoiled)
    found = adapt(spoiled, triples, division(triples), Amount(steps=15), settings=QUICK, report=moments.append)
    assert found.kept
    assert found.steps == 15
    assert list(found.before) == list(found.after) == [4]
    assert found.after[4] > found.before[4] + 1
    assert found.network is not spoiled
    assert bits(spoiled) == before != bits(found.network)
    assert not found.network.training
    exam = Exam(triples[1], Motion().routes(triples[1]), None)
    assert exam.decibels(found.network) == pytest.approx(found.after[4], abs=1e-6)
    assert [(m.what, m.total) for m in moments[:4]] == [*[("motion", 3)] * 3, ("checking", 2)]
    assert [(m.done, m.total) for m in moments if m.what == "learning"] == [(n, 15) for n in range(1, 16)]


@pytest.mark.parametrize("steps", [0, 10])
def test_what_does_not_carry_to_the_keys_held_aside_is_not_kept(shot: Any, steps: int) -> None:
    first, second = shot(4)
    # a key without color teaches to take color away
    grey = Triple(2, first.serving, first.lightness, {**first.props, 2: np.zeros_like(first.props[2])})
    good = network(spoiled=False)
    before = bits(good)
    found = adapt(good, [grey, second], division([grey, second]), Amount(steps=steps), settings=QUICK)
    assert not found.kept
    assert found.network is good
    assert bits(good) == before
    assert (found.after[4] < found.before[4] - 10) if steps else (found.after == found.before)


def test_a_network_that_breaks_is_not_kept(shot: Any) -> None:
    triples, net = shot(4), network(spoiled=False)
    settings = Settings(learning_rate=float("inf"), batch=1, crop=32)
    found = adapt(net, triples, division(triples), Amount(steps=1), settings=settings)
    assert not found.kept
    assert not found.after[4] > 0


def test_a_single_key_is_not_judged_by_what_was_learned_from(shot: Any) -> None:
    (triple,) = shot(3, 48, 64)
    _, judged = checkerboard(48, 64)
    settings = Settings(learning_rate=2e-2, batch=1, crop=32)

    def adapted(where: Array) -> tuple[dict[str, bytes], dict[int, float]]:
        props = {**triple.props, 2: triple.props[2] + 30 * where[..., None].astype(np.float32)}
        changed = Triple(2, triple.serving, triple.lightness, props)
        found = adapt(network(spoiled=True), [changed], division([changed]), Amount(steps=3), settings=settings)
        return bits(found.network) if found.kept else {}, found.before

    weights, figures = adapted(np.zeros((48, 64), bool))
    assert weights
    other_truth, other_figures = adapted(judged)
    assert other_figures != figures
    assert other_truth in (weights, {})
    changed_weights, same_figures = adapted(~judged)
    assert same_figures == figures
    assert changed_weights != weights


def test_the_same_number_of_steps_gives_the_same_weights(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    triples = shot(4)
    counted = adapt(network(spoiled=True), triples, division(triples), Amount(steps=12), settings=QUICK)
    ticks = iter(range(1000))
    # a clock that goes on by a second at every look, and is looked at once a step
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))
    timed = adapt(network(spoiled=True), triples, division(triples), Amount(seconds=12.5), settings=QUICK)
    assert timed.steps == 12
    assert bits(timed.network) == bits(counted.network)
    assert timed.after == counted.after


@pytest.mark.parametrize("after", [0, 2, 3, 6])
def test_it_stops_when_asked(shot: Any, after: int) -> None:
    asked = iter([False] * after + [True])
    triples = shot(4)
    with pytest.raises(Stopped):
        adapt(network(spoiled=True), triples, division(triples), Amount(steps=50), settings=QUICK, stop=asked.__next__)


def test_an_amount_is_one_of_two() -> None:
    for wrong in ({}, {"steps": 3, "seconds": 4.0}):
        with pytest.raises(ValueError, match="steps or seconds"):
            Amount(**wrong)


@pytest.mark.parametrize(
    ("keys", "learned", "aside"),
    [
        ((5,), (5,), (5,)),
        ((5, 9), (5,), (9,)),
        ((1, 2, 3), (1, 3), (2,)),
        ((1, 2, 3, 4, 5, 6, 7), (1, 3, 4, 6, 7), (2, 5)),
    ],
)
def test_which_keys_are_held_aside(keys: tuple[int, ...], learned: tuple[int, ...], aside: tuple[int, ...]) -> None:
    assert divide(keys, 64, 64) == Division(learned, aside)


def test_memory_bounds_how_many_keys_there_are() -> None:
    keys = tuple(range(90))
    # the network is shown a quarter of each side of 2048 x 1152, but judged at full size
    found = divide(keys, 1152, 2048)
    assert len(found.learned) == 60
    assert len(found.aside) == 6
    # of what is already reduced more can be held aside
    assert len(divide(keys, 384, 683, reduced=True).aside) == 30
    few = divide(keys, 1152, 2048, Settings(most_bytes=5 * 120 * 512 * 288))
    assert (len(few.learned), len(few.aside)) == (5, 1)
    assert few.learned[0] < 15 < 75 < few.learned[-1]
    with pytest.raises(ValueError, match="got none"):
        divide((), 64, 64)
    with pytest.raises(ValueError, match="more than 16 pixels"):
        divide((5,), 16, 9)


@pytest.mark.parametrize("shape", [(17, 16), (40, 56), (288, 512), (200, 90), (1080, 1920)], ids=str)
@pytest.mark.parametrize("reduced", [False, True], ids=["as it is", "reduced"])
def test_a_checkerboard_divides_a_picture_in_two(shape: tuple[int, int], reduced: bool) -> None:
    learned, judged = checkerboard(*shape, reduced=reduced)
    factor = adaptation_material.shown_factor(*shape, reduced=reduced)
    assert judged.shape == shape
    covered = judged.astype(int)
    for window in learned:
        assert all(edge % 16 == 0 for edge in window)
        top, left, bottom, right = (edge * factor for edge in window)
        assert min(bottom - top, right - left) > 0
        covered[top:bottom, left:right] += 1
    assert (covered == 1).all()
    assert 0.3 < judged.mean() < 0.7 or min(shape) < 20
