"""The CPU operator answers to the reference: values, gradients, every parameter, odd sizes."""

import pytest
import torch
from torch import Tensor

from stpn.engine.propagation import Direction, normalize_gates, propagate, switch
from stpn.engine.propagation.reference import propagate_one_way, propagate_reference

# batch, channels, gates shared, height, width
CASES = [
    (1, 1, True, 1, 1),
    (1, 2, True, 1, 9),
    (2, 3, False, 9, 1),
    (1, 2, True, 2, 2),
    (2, 3, True, 5, 7),
    (1, 9, False, 17, 16),
    (2, 17, True, 33, 20),
    (1, 2, False, 63, 65),
]
IDS = [f"B{b}-C{c}-{'shared' if s else 'each'}-{h}x{w}" for b, c, s, h, w in CASES]


@pytest.fixture(autouse=True)
def poisoned_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An output that is not written whole shows as NaN, or as a direction that does not exist."""
    honest = torch.empty_like

    def poisoned(*args: object, **options: object) -> Tensor:
        out: Tensor = honest(*args, **options)  # type: ignore[call-overload]
        return out.fill_(float("nan") if out.is_floating_point() else 255)

    monkeypatch.setattr(torch, "empty_like", poisoned)


def make(case: tuple[int, int, bool, int, int], dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor]:
    batch, channels, shared, height, width = case
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, channels, height, width, dtype=dtype, generator=random)
    gates = torch.randn(batch, 4, 1 if shared else channels, 3, height, width, dtype=dtype, generator=random)
    return x, normalize_gates(gates)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_propagate_float32_errs_no_more_than_twice_the_plain_loop(case: tuple[int, int, bool, int, int]) -> None:
    x, gates = make(case, torch.float32)
    truth = propagate_reference(x.double(), gates.double())
    plain = (propagate_reference(x, gates) - truth).abs().max()
    ours = (propagate(x, gates) - truth).abs().max()
    assert ours <= 2 * plain + 1e-7


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_propagate_values_and_gradients_float64(case: tuple[int, int, bool, int, int]) -> None:
    x, gates = (t.requires_grad_() for t in make(case, torch.float64))
    ours, reference = propagate(x, gates), propagate_reference(x, gates)
    torch.testing.assert_close(ours, reference, rtol=0, atol=1e-13)
    up = torch.randn(ours.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    got = torch.autograd.grad(ours, (x, gates), up)
    want = torch.autograd.grad(reference, (x, gates), up, allow_unused=True, materialize_grads=True)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_propagate_passes_the_numerical_gradient_check(shared: bool) -> None:
    x, gates = make((2, 2, shared, 4, 5), torch.float64)
    assert torch.autograd.gradcheck(propagate, (x.requires_grad_(), gates.requires_grad_()))


def test_torch_accepts_the_custom_operator() -> None:
    x, gates = make((2, 9, True, 4, 5), torch.float32)
    torch.library.opcheck(torch.ops.stpn.propagate_cpu.default, (x.requires_grad_(), gates.requires_grad_()))


def test_propagate_takes_non_contiguous_input() -> None:
    x, gates = make((1, 3, True, 8, 6), torch.float64)
    turned = propagate(x.transpose(2, 3).contiguous().transpose(2, 3), gates.flip(-1).flip(-1)[:, :, :, :, :, :])
    torch.testing.assert_close(turned, propagate_reference(x, gates), rtol=0, atol=1e-13)
    every_other = propagate(x[..., ::2], gates[..., ::2])
    torch.testing.assert_close(every_other, propagate_reference(x[..., ::2], gates[..., ::2]), rtol=0, atol=1e-13)
    shared_across_channels = gates.expand(1, 4, 3, 3, 8, 6)
    torch.testing.assert_close(propagate(x, shared_across_channels), propagate(x, gates), rtol=0, atol=1e-13)


def test_result_does_not_depend_on_the_number_of_threads() -> None:
    x, gates = (t.requires_grad_() for t in make((2, 20, True, 9, 11), torch.float32))
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            out = propagate(x, gates)
            results.append((out, *torch.autograd.grad(out.sum(), (x, gates))))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_gates_of_zero_keep_the_property() -> None:
    x, gates = make((1, 2, True, 6, 5), torch.float32)
    assert torch.equal(propagate(x, torch.zeros_like(gates)), x)


def test_a_constant_map_stays_constant_to_the_last_bit() -> None:
    _, gates = make((1, 2, True, 40, 50), torch.float32)
    x = torch.full((1, 2, 40, 50), 0.3)
    assert torch.equal(propagate(x, gates), x)


def test_full_straight_gates_carry_the_first_column_across() -> None:
    x = torch.zeros(1, 1, 3, 4)
    x[..., 0] = torch.tensor([1.0, 2.0, 3.0])
    gates = torch.zeros(1, 4, 1, 3, 3, 4)
    gates[:, Direction.RIGHT, :, 1] = 1
    assert torch.equal(propagate(x, gates), x[..., :1].expand(1, 1, 3, 4))


def test_nan_spreads_only_along_its_gates() -> None:
    x = torch.zeros(1, 1, 3, 5)
    x[0, 0, 1, 2] = float("nan")
    gates = torch.zeros(1, 4, 1, 3, 3, 5)
    gates[:, Direction.RIGHT, :, 1] = 0.5
    out = propagate(x, gates).isnan()
    assert torch.equal(out, propagate_reference(x, gates).isnan())
    assert out[0, 0, 1, 2:].all()


def test_normalize_gates_bounds_the_sum_and_leaves_small_gates() -> None:
    _, gates = make((1, 1, True, 4, 4), torch.float64)
    large = normalize_gates(gates * 50)
    assert large.abs().sum(dim=3).max() <= 1 + 1e-12
    small = gates / gates.abs().sum(dim=3, keepdim=True) * 0.7
    assert torch.equal(normalize_gates(small), small)


def test_switch_exchanges_opposite_directions_and_is_its_own_inverse() -> None:
    _, gates = make((1, 1, True, 3, 3), torch.float32)
    switched = switch(gates)
    for direction in Direction:
        assert torch.equal(switched[:, direction], gates[:, direction.opposite])
    assert torch.equal(switch(switched), gates)


@pytest.mark.parametrize(
    ("x", "gates", "message"),
    [
        (torch.zeros(2, 3, 4), torch.zeros(1), r"property_map: expected \(B, C, H, W\), got shape \(2, 3, 4\)"),
        (
            torch.zeros(1, 2, 3, 4),
            torch.zeros(1, 4, 1, 3, 4, 3),
            r"gates: expected \(1, 4, 2 or 1, 3, 3, 4\) for a property map of shape \(1, 2, 3, 4\), "
            r"got shape \(1, 4, 1, 3, 4, 3\)",
        ),
        (
            torch.zeros(1, 2, 3, 4),
            torch.zeros(1, 4, 1, 3, 3, 4, dtype=torch.float64),
            "gates: expected torch.float32 on cpu as the property map, got torch.float64 on cpu",
        ),
    ],
)
def test_wrong_input_is_refused_with_what_was_expected_and_got(x: Tensor, gates: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        propagate(x, gates)


class TestMatrices:
    """What `propagation/README.md` says of G and of the switch, on explicit matrices."""

    height, width = 3, 4

    def matrix(self, gates: Tensor, direction: Direction) -> Tensor:
        """G of one direction: columns are what becomes of each unit map. Pixels are ordered column by column."""
        n = self.height * self.width
        units = torch.eye(n, dtype=torch.float64).reshape(n, 1, self.width, self.height).transpose(2, 3)
        out = propagate_one_way(units, gates.expand(n, -1, -1, -1, -1, -1), direction)
        return out.transpose(2, 3).reshape(n, n).T

    def gates(self, seed: int = 3) -> Tensor:
        return make((1, 1, True, self.height, self.width), torch.float64, seed)[1]

    def parts(self, gates: Tensor, direction: Direction) -> tuple[Tensor, Tensor]:
        """W and D of G = (I - W)^-1 D, for a horizontal direction."""
        n = self.height * self.width
        w, d = torch.zeros(n, n, dtype=torch.float64), torch.eye(n, dtype=torch.float64)
        way = -1 if direction.reverse else 1
        for column in range(self.width):
            if not 0 <= column - way < self.width:
                continue
            for row in range(self.height):
                for neighbour in (-1, 0, 1):
                    if 0 <= row + neighbour < self.height:
                        gate = gates[0, direction, 0, neighbour + 1, row, column]
                        w[column * self.height + row, (column - way) * self.height + row + neighbour] = gate
        return w, d - torch.diag(w.sum(dim=1))

    def test_g_is_triangular_with_rows_that_sum_to_one(self) -> None:
        right, left = (self.matrix(self.gates(), d) for d in (Direction.RIGHT, Direction.LEFT))
        assert right.triu(1).abs().max() == 0
        assert left.tril(-1).abs().max() == 0
        torch.testing.assert_close(right.sum(dim=1), torch.ones(12, dtype=torch.float64))

    def test_g_is_the_closed_form(self) -> None:
        gates = self.gates()
        for direction in (Direction.RIGHT, Direction.LEFT):
            w, d = self.parts(gates, direction)
            want = torch.linalg.solve(torch.eye(12, dtype=torch.float64) - w, d)
            torch.testing.assert_close(self.matrix(gates, direction), want)

    def test_switched_gates_are_not_the_transpose_in_general(self) -> None:
        gates = self.gates()
        switched = self.matrix(switch(gates), Direction.LEFT)
        assert (switched - self.matrix(gates, Direction.RIGHT).T).abs().max() > 0.05

    def test_gates_moved_to_the_other_end_of_their_link_give_the_transposed_w(self) -> None:
        gates = self.gates()
        w_right, _ = self.parts(gates, Direction.RIGHT)
        moved = torch.zeros_like(gates)
        for row in range(self.height):
            for neighbour in (-1, 0, 1):
                if 0 <= row + neighbour < self.height:
                    moved[0, Direction.LEFT, 0, 1 - neighbour, row + neighbour, :-1] = gates[
                        0, Direction.RIGHT, 0, 1 + neighbour, row, 1:
                    ]
        w_left, _ = self.parts(moved, Direction.LEFT)
        torch.testing.assert_close(w_left, w_right.T)

    def test_equal_straight_gates_give_the_transpose_but_for_the_factor_at_both_ends(self) -> None:
        w = 0.6
        gates = torch.zeros(1, 4, 1, 3, self.height, self.width, dtype=torch.float64)
        gates[:, :, :, 1] = w
        forward = self.matrix(gates, Direction.RIGHT)
        switched = self.matrix(switch(gates), Direction.LEFT)
        # in G the first column is taken whole and the others with 1 - w; in the switched G the last one is taken whole
        whole = torch.ones(12, dtype=torch.float64)
        start, end = whole.clone(), whole.clone()
        start[: self.height] = 1 - w
        end[-self.height :] = 1 - w
        torch.testing.assert_close(switched * end, (forward * start).T)
        inner = slice(self.height, -self.height)
        torch.testing.assert_close(switched[inner, inner], forward.T[inner, inner])
