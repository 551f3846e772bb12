"""Losses on a grid, and capped losses, against closed forms and against each other."""

import math

import mpmath as mp
import numpy as np
import pytest

from privplan import accounting
from privplan.contour import cap, cells, closed, cumulants, grid, lattice, solve
from privplan.contour.curve import Capped
from privplan.contour.loss import Direction, Loss, Pure, Sampled
from privplan.contour.nodes import Nodes
from privplan.errors import CannotCertifyError
from privplan.events import LaplaceEvent, RandomizedResponseEvent, SelfComposedEvent

REMOVE, ADD = Direction.REMOVE, Direction.ADD


def sampled(rate, noise, steps, direction=REMOVE):
    return Loss(0.0, (Sampled(rate, noise, steps),), (), direction)


def pure(*queries):
    return Loss(
        0.0, (), tuple(Pure(e, two_point=two, n=n) for e, two, n in queries), ADD
    )


def laid(loss, epsilon, delta, bits):
    return lattice.Lattice(loss, grid.lay(loss, epsilon, math.log(delta)), 2**bits)


# Compositions with a closed form, and an epsilon of middling delta.
CLOSED = [
    (sampled(0.3, 0.8, 1), 1.0),
    (sampled(0.3, 0.8, 1, ADD), 0.2),
    (sampled(1e-4, 0.5, 1), 0.02),
    (sampled(1e-4, 0.5, 1, ADD), 5e-5),
    (sampled(0.9, 4.0, 1), 0.5),
    (Loss(0.25, (), (), REMOVE), 1.0),
    (Loss(9.0, (), (), REMOVE), 12.0),
    (pure((0.7, False, 1)), 0.4),
    (pure((0.3, True, 40)), 4.0),
]


def holds(sizes=(9, 11, 14), rows=CLOSED):
    """Return whether every grid contains every closed form, for the mutants too.

    Ends that cross are an error of their own, which is a way to notice a mutant.
    """
    for loss, epsilon in rows:
        low, high = closed.delta(loss, epsilon)
        for bits in sizes:
            try:
                found = laid(loss, epsilon, high, bits).bracket(epsilon)
            except CannotCertifyError:
                return False
            if not (found[0] <= high and low <= found[1]):
                return False
    return True


@pytest.mark.parametrize(("loss", "epsilon"), CLOSED)
def test_a_grid_contains_what_has_a_closed_form_and_nears_it(loss, epsilon):
    """A coarse grid errs more than a fine one, and neither to the wrong side."""
    assert holds(rows=[(loss, epsilon)])
    low, high = closed.delta(loss, epsilon)
    # The upper end errs by the square of the width, a 2^15th of the losses that matter.
    found = laid(loss, epsilon, high, 15).bracket(epsilon)
    assert found[1] <= high * (1 + 1e-3)
    assert found[0] >= low * (1 - 2e-2)


def test_rounding_losses_to_the_nearest_point_is_caught(monkeypatch):
    """Mutant: unbiased rounding, which is what an estimate would do."""
    original = lattice.upper

    def nearest(one, h):
        middle = cells.Cells(
            one.n, one.k, one.p, (one.k + 0.5) * h, one.far_p, one.far_q, one.blur
        )
        found, lost = original(middle, h)
        shifted = lattice.Grid(found.n, found.k - 1, found.p, 0.0)
        return shifted, lost

    monkeypatch.setattr(lattice, "upper", nearest)
    assert not holds()


def test_forgotten_far_outputs_are_caught(monkeypatch):
    """Mutant: what loses more than the grid reaches is taken not to happen."""
    original = lattice.upper
    monkeypatch.setattr(lattice, "upper", lambda one, h: (original(one, h)[0], 0.0))
    rows = [(sampled(1e-3, 0.4, 1), 0.02)]
    assert not holds(rows=rows)


def test_rounding_up_in_the_lower_grid_is_caught(monkeypatch):
    """Mutant: the lower end rounds losses up."""
    original = lattice.lower

    def raised(one, h, t):
        found = original(one, h, t)
        return lattice.Grid(found.n, found.k + 1, found.p, found.offset)

    monkeypatch.setattr(lattice, "lower", raised)
    assert not holds()


def test_a_forgotten_wrap_is_caught(monkeypatch):
    """Mutant: a grid of finite length is taken to have no aliases."""
    loss, epsilon = CLOSED[5]
    _, high = closed.delta(loss, epsilon)
    shape = grid.lay(loss, epsilon, math.log(high))
    short = lattice.Shape(shape.t, 0.15 * shape.width, shape.level, shape.other_t)
    curve = lattice.Lattice(loss, short, 2**13)
    assert curve.bracket(epsilon)[0] <= high
    monkeypatch.setattr(lattice.Lattice, "_excess", lambda *_: 0.0)
    assert curve.bracket(epsilon)[0] > high


def two_laplace_queries(first, second, epsilon):
    """Integrate one query's closed form over the other's loss; 30 digits."""
    mp.mp.dps = 30
    a, b, eps = mp.mpf(first), mp.mpf(second), mp.mpf(epsilon)

    def one(e):
        return -mp.expm1((e - b) / 2) if -b < e < b else (1 - mp.exp(e)) * (e <= -b)

    atoms = one(eps - a) / 2 + mp.exp(-a) / 2 * one(eps + a)
    edges = sorted({-a, min(max(eps - b, -a), a), min(max(eps + b, -a), a), a})
    return atoms + mp.quad(lambda x: mp.exp((x - a) / 2) / 4 * one(eps - x), edges)


@pytest.mark.parametrize(("first", "second"), [(0.5, 0.5), (1.0, 0.3), (0.02, 0.03)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_two_laplace_queries_cost_what_an_integral_says(first, second, share):
    """Atoms at both ends of each loss, and a density between."""
    epsilon = share * (first + second)
    truth = two_laplace_queries(first, second, epsilon)
    loss = pure((first, False, 1), (second, False, 1))
    low, high = grid.delta_bracket(loss, epsilon)
    assert low <= truth <= high
    # `delta_bracket` stops at 2e-4.
    assert high - low <= 5e-4 * truth


def test_unlike_coins_cost_what_every_outcome_says():
    """Twelve coins of two kinds: all 4,096 outcomes by hand."""
    coins = [0.3] * 7 + [0.5] * 5
    epsilon, truth = 2.0, 0.0
    for outcome in range(2 ** len(coins)):
        signs = [1 if outcome >> i & 1 else -1 for i in range(len(coins))]
        loss = sum(s * e for s, e in zip(signs, coins, strict=True))
        chance = math.prod(
            1 / (1 + math.exp(-s * e)) for s, e in zip(signs, coins, strict=True)
        )
        truth += chance * max(0.0, -math.expm1(epsilon - loss))
    low, high = grid.delta_bracket(pure((0.3, True, 7), (0.5, True, 5)), epsilon)
    assert low * (1 - 1e-12) <= truth <= high * (1 + 1e-12)
    assert high - low <= 5e-3 * truth


@pytest.mark.parametrize(
    ("event", "delta"),
    [
        (SelfComposedEvent(event=LaplaceEvent(noise_multiplier=20.0), count=60), 1e-6),
        (SelfComposedEvent(event=LaplaceEvent(noise_multiplier=0.5), count=2), 1e-8),
    ],
)
def test_several_pure_queries_need_no_other_accountant(event, delta):
    found = accounting.epsilon(event, delta=delta)
    assert found.method == "grid"
    assert found.upper - found.lower <= 1e-3 * found.upper


def test_pure_queries_never_cost_more_than_their_sum():
    parts = [RandomizedResponseEvent(epsilon=e) for e in (0.8, 0.5, 1.5)]
    from privplan.events import ComposedEvent

    found = accounting.epsilon(ComposedEvent(events=tuple(parts)), delta=1e-11)
    assert found.lower <= 2.8
    assert found.upper <= 2.8 * (1 + 1e-9)
    assert found.lower > 2.79


# Rare: (rate, noise, steps, delta).
RARE = [
    (2.07e-5, 0.634, 49, 7.1e-6),
    (1.54e-8, 9.64, 461_145, 5.4e-9),
    (1.72e-8, 0.427, 13_711, 1.4e-12),
    (4.627e-6, 0.7392, 393, 5.22e-5),
    (1.27e-3, 0.835, 22, 9.5e-12),
]


@pytest.mark.parametrize(("rate", "noise", "steps", "delta"), RARE)
def test_a_finer_grid_stays_inside_a_coarser_one(rate, noise, steps, delta):
    """The upper end is the claim: it must have settled to a part in a thousand."""
    loss = sampled(rate, noise, steps)
    _, epsilon = grid.epsilon_bracket(loss, delta)
    fine = laid(loss, epsilon, delta, 20)
    # At an epsilon a thousandth smaller, delta is no longer kept.
    assert fine.bracket(epsilon)[0] <= delta
    assert fine.value(epsilon * (1 - 1e-3))[0] > delta


# Where a cap was once wrong: outputs above it, and the bound on the rest.
MEET = [*RARE[3:], (0.024048681, 1.2001049, 152, 1.68247e-7), (0.05, 3.0, 60, 1e-9)]


@pytest.mark.parametrize(("rate", "noise", "steps", "delta"), MEET)
def test_grid_and_contour_meet(rate, noise, steps, delta):
    """Two ways with nothing in common but the cells' definition."""
    loss = sampled(rate, noise, steps)
    found = [grid.epsilon_bracket(loss, delta)]
    for route in (solve._direct, solve._walk_capped, solve._walk):
        try:
            found.append(route(loss, delta, 0.0)[:2])
        except CannotCertifyError:
            continue
    assert len(found) >= 2
    assert max(low for low, _ in found) <= min(high for _, high in found)


def capped_curve(loss, epsilon, delta, allowed):
    found = cap.cut(loss, epsilon, allowed * delta)
    here = cumulants.at_epsilon(found.kept, epsilon, 5.0)
    kept = Nodes(here, epsilon, log_delta=math.log(delta), tolerance=1e-8, most=20_000)
    return Capped(kept, found)


# 30 digits, from `test_contour.py`'s table.
CUT = [
    (4096 / 60000, 2.380248, 4394, 10, 9.9999687165000558e-6),
    (1e-3, 0.825996, 10**5, 3, 1.0000249566070757e-7),
    (1e-4, 0.487363, 10**6, 8, 1.00009298598663653e-9),
    (0.9, 2.5, 50, 6, 0.0838404319381138619),
]


def cuts_hold():
    """Return whether caps at any height contain 30-digit truths, for mutants too."""
    for rate, noise, steps, epsilon, truth in CUT:
        loss = sampled(rate, noise, steps)
        for allowed in (0.3, 1e-2, 1e-5):
            with np.errstate(all="ignore"):  # as `both.py` does
                curve = capped_curve(loss, epsilon, truth, allowed)
                low, high = curve.bracket(epsilon)
            if not low <= truth <= high:
                return False
    return True


def test_a_cap_at_any_height_contains_the_truth():
    """A low cap makes the closed form and the rest large enough to be missed."""
    assert cuts_hold()


def test_a_forgotten_rest_is_caught(monkeypatch):
    """Mutant: far outputs are taken to push every total above epsilon."""
    monkeypatch.setattr(cap.Cut, "rest", lambda *_: 0.0)
    monkeypatch.setattr(
        cap, "cut", lambda loss, epsilon, _: cap._cut_at(loss, epsilon, 1.02 * epsilon)
    )
    assert not cuts_hold()


def test_forgotten_outputs_above_the_cap_are_caught(monkeypatch):
    """Mutant: a cap leaves out no more than rounding would."""
    monkeypatch.setattr("privplan.contour.tilt.TiltedStep._above", lambda *_: 0.0)
    loss = sampled(4.627e-6, 0.7392, 393)
    low, _ = capped_curve(loss, 7.411e-5, 5.22e-5, 1e-6).bracket(7.411e-5)
    assert low > grid.delta_bracket(loss, 7.411e-5)[1]


def test_a_normal_cell_has_the_probability_of_30_digits():
    """Differences of far tails cancel; narrow cells cancel too."""
    mp.mp.dps = 40
    edges = [(-9.0, -8.9999), (-0.1, 0.2), (5.0, 5.001), (5.0, 9.0), (20.0, 20.5)]
    edges += [(-math.inf, -7.0), (6.0, math.inf), (-30.0, -29.9), (0.0, 0.0199)]
    a, b = np.array(edges).T
    found = cells._normal(a, b)
    for (left, right), value in zip(edges, found, strict=True):
        truth = (
            mp.ncdf(-left) - mp.ncdf(-right)
            if left > 0
            else mp.ncdf(right) - mp.ncdf(left)
        )
        # 1e-12 is what `cells.py` promises.
        assert abs(value / truth - 1) < 1e-12
