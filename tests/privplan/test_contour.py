"""The contour against arithmetic that shares nothing with it but the definition.

The truths are sums in 30-digit arithmetic (mpmath) on another contour, with another
period and another grid, and were checked to 20 digits against a third; for two and
three steps they are direct integrals over the outputs. One is recomputed here.
"""

import math

import mpmath as mp
import numpy as np
import pytest

from privplan.contour import closed, cumulants, jumps, nodes, solve, tilt
from privplan.contour.decay import Decay
from privplan.contour.loss import Direction, Loss, Pure, Sampled
from privplan.contour.strip import strip_error
from privplan.errors import CannotCertifyError

REMOVE, ADD = Direction.REMOVE, Direction.ADD

# (sample rate, noise multiplier, steps, epsilon, direction, delta)
TRUTHS = [
    (4096 / 60000, 73.805265, 4394, 0.2, REMOVE, 9.99999948862270899e-6),
    (4096 / 60000, 73.805265, 4394, 0.2, ADD, 9.91784837271141751e-6),
    (4096 / 60000, 16.91999, 4394, 1, REMOVE, 0.0000100000037945764603),
    (4096 / 60000, 16.91999, 4394, 1, ADD, 9.4956883373706456e-6),
    (4096 / 60000, 2.380248, 4394, 10, REMOVE, 9.9999687165000558e-6),
    (4096 / 60000, 2.380248, 4394, 10, ADD, 4.09541773804147881e-6),
    (16384 / 50000, 17.37975, 200, 1, REMOVE, 9.99999651696023395e-6),
    (16384 / 50000, 17.37975, 200, 1, ADD, 8.42165348952192738e-6),
    (16384 / 50000, 2.450786, 200, 10, REMOVE, 0.000010000036792093047),
    (16384 / 50000, 2.450786, 200, 10, ADD, 4.95068066574263234e-7),
    (128 / 1797, 6.100607, 702, 1, REMOVE, 0.000100000012018775808),
    (128 / 1797, 6.100607, 702, 1, ADD, 0.0000785122947328760749),
    (64 / 1797, 65.111282, 1000, 0.05, REMOVE, 0.0000100000002316847829),
    (64 / 1797, 65.111282, 1000, 0.05, ADD, 9.85306833094887559e-6),
    (1e-3, 0.825996, 10**5, 3, REMOVE, 1.0000249566070757e-7),
    (1e-3, 0.825996, 10**5, 3, ADD, 1.58967570489678972e-8),
    (1e-3, 1.390132, 10**6, 5, REMOVE, 1.00000121248787165e-9),
    (1e-3, 1.390132, 10**6, 5, ADD, 7.8499430614392806e-10),
    (1e-4, 0.455713, 10**5, 8, REMOVE, 1.00003819238273498e-10),
    (1e-2, 0.77992, 10**5, 50, REMOVE, 1.00005235231952482e-6),
    (1e-2, 0.77992, 10**5, 50, ADD, 7.20382866129462774e-9),
    (1e-2, 4.82945, 20_000, 2, REMOVE, 1.00000503675118057e-12),
    (1e-2, 4.82945, 20_000, 2, ADD, 6.14313957960937237e-13),
    (1e-4, 0.487363, 10**6, 8, REMOVE, 1.00009298598663653e-9),
    (1e-4, 0.487363, 10**6, 8, ADD, 1.45578057689432691e-36),
    (0.9, 2.5, 50, 6, REMOVE, 0.0838404319381138619),
    (0.9, 2.5, 50, 6, ADD, 0.0762623433671050945),
]
# A rare participation whose far outputs must be capped.
CAPPED = (7.69e-5, 2.11, 259_736, 0.12027, REMOVE, 1.78758883169505e-12)


def composed(rate, noise, steps, direction):
    return Loss(0.0, (Sampled(rate, noise, steps),), (), direction)


def truth_in_30_digits(rate, noise, steps, epsilon, tilt_at, reach, period):
    """Sum the inversion integral for removal on a contour of the test's choosing."""
    mp.mp.dps = 30
    q, s, eps, t = (mp.mpf(x) for x in (rate, noise, epsilon, tilt_at))
    h = min(mp.mpf("0.3"), s * mp.mpf("0.16"))
    y = [-12.5 + k * h for k in range(int((25 + (t + 1) / s) / h) + 2)]
    loss = [mp.log(1 - q + q * mp.exp((x - 1 / (2 * s)) / s)) for x in y]
    weight = [
        h * mp.exp((t + 1) * r - x * x / 2) / mp.sqrt(2 * mp.pi)
        for x, r in zip(y, loss, strict=True)
    ]
    eta = 2 * mp.pi / mp.mpf(period)
    turn = [mp.expj(eta * r) for r in loss]
    total = mp.mpf(0)
    for k in range(int(reach / eta) + 2):
        z = mp.mpc(t, k * eta)
        term = mp.fsum(weight) ** steps * mp.exp(-z * eps) / (z * (z + 1))
        total += term.real / (2 if k == 0 else 1)
        weight = [w * r for w, r in zip(weight, turn, strict=True)]
    return float(total * eta / mp.pi)


def holds(rows=TRUTHS, tolerance=1e-9):
    """Return whether every bracket contains its truth, in one go for the mutants."""
    for rate, noise, steps, epsilon, direction, truth in rows:
        loss = composed(rate, noise, steps, direction)
        here = cumulants.at_epsilon(loss, epsilon, cumulants.guess(loss, -10.0))
        found = nodes.Nodes(
            here,
            epsilon,
            log_delta=here.log_delta(epsilon),
            tolerance=tolerance,
            most=5_000,
        )
        low, high = found.bracket(epsilon)
        if not low <= truth <= high:
            return False
    return True


@pytest.mark.parametrize("row", TRUTHS, ids=lambda row: f"{row[:4]} {row[4].value}")
def test_the_bracket_of_delta_contains_the_truth_and_is_narrow(row):
    """An error bound that is wrong, or a formula that is, would exclude it."""
    rate, noise, steps, epsilon, direction, truth = row
    low, high = solve.delta_bracket(composed(rate, noise, steps, direction), epsilon)
    assert low <= truth <= high
    # 1e-7 of delta is below 1e-7 of epsilon everywhere on this grid.
    assert high - low <= 1e-7 * truth or truth < 1e-30


@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-4, 1e-6, 1e-12])
def test_the_bracket_holds_also_when_its_error_terms_are_large(tolerance):
    """At 1e-9 a missing error term may hide in the others; at 1e-1 it cannot."""
    assert holds(tolerance=tolerance)


def test_the_table_of_truths_can_be_recomputed():
    """A table nobody can recompute is a rumour."""
    rate, noise, steps, epsilon, _, truth = TRUTHS[4]
    again = truth_in_30_digits(rate, noise, steps, epsilon, 0.9, 12.0, 60.0)
    # The table has 18 digits; float64 keeps 15 of them.
    assert again == pytest.approx(truth, rel=1e-14)


def test_a_dropped_tail_bound_is_caught(monkeypatch):
    """Mutant: the nodes left out are taken to add nothing."""

    def reach(self, here, epsilon, log_wanted):
        del self, epsilon, log_wanted
        return 1.2 / math.sqrt(here.v), -math.inf

    monkeypatch.setattr(nodes.Nodes, "_reach", reach)
    assert not holds(tolerance=1e-2)


def test_a_forgotten_period_bound_is_caught(monkeypatch):
    """Mutant: the sum is taken for the integral, whatever its period."""
    original = nodes.choose_period
    monkeypatch.setattr(nodes, "choose_period", lambda *args: original(*args[:3], 0.1))
    assert holds()
    monkeypatch.setattr("privplan.contour.period.Period.excess", lambda *_: 0.0)
    assert not holds()


def test_a_forgotten_count_is_caught(monkeypatch):
    """Mutant: one phase counts as one step."""
    original = nodes.log1p_parts
    monkeypatch.setattr(
        nodes, "log1p_parts", lambda below: (original(below)[0], 0 * original(below)[1])
    )
    assert not holds(TRUTHS[:2])


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize(
    ("rate", "noise", "t"), [(0.07, 2.4, 1.5), (1e-3, 0.6, 4.0), (0.5, 5.0, 20.0)]
)
def test_the_decay_bound_is_never_below_the_characteristic_function(
    rate, noise, t, direction
):
    """A bound on what lies beyond U that some phi exceeds would lose a tail."""
    step = Sampled(rate, noise, 10)
    fine = tilt.TiltedStep(step, direction, t, 0.01 * min(noise, 1.0))
    # Frequencies up to where this grid of y still resolves the oscillation.
    u = np.geomspace(0.05, 30.0, 300) / math.sqrt(fine.variance)
    u = u[u * fine.spacing / noise < 1.0]
    size = np.abs(np.exp(1j * u[:, None] * fine.loss) @ fine.weight)
    beyond = np.maximum.accumulate(size[::-1])[::-1]
    rough = tilt.TiltedStep(step, direction, t, tilt.first_spacing(step))
    assert np.all(np.exp(Decay(rough).log_beyond(u)) >= beyond * (1 - 1e-9))


@pytest.mark.parametrize("spacing", [0.5, 0.8, 1.1, 1.4])
@pytest.mark.parametrize("highest", [0.0, 3.0, 20.0])
def test_the_strip_bound_is_never_below_the_quadrature_error(spacing, highest):
    """A grid too coarse for a frequency must say so."""
    step = Sampled(0.1, 1.3, 1)
    coarse = tilt.TiltedStep(step, REMOVE, 2.0, spacing)
    fine = tilt.TiltedStep(step, REMOVE, 2.0, 0.05)
    log_bound, _ = strip_error(coarse, highest, -40.0)

    def transform(tilted):
        angle = highest * (tilted.loss + tilted.mean)
        return math.exp(tilted.log_mgf) * (np.exp(1j * angle) @ tilted.weight)

    error = abs(transform(coarse) - transform(fine)) / math.exp(fine.log_mgf)
    assert error <= math.exp(log_bound) + 1e-14


def delta_of_two_steps(rate, noise, epsilon):
    """Integrate the one-step curve over the first output; 30 digits."""
    mp.mp.dps = 30
    q, s = mp.mpf(rate), mp.mpf(noise)

    def one(eps):
        if eps <= mp.log1p(-q):
            return 1 - mp.exp(eps)
        y = s * mp.log((mp.expm1(eps) + q) / q) + 1 / (2 * s)
        return q * mp.ncdf(1 / s - y) - (mp.expm1(eps) + q) * mp.ncdf(-y)

    def integrand(y):
        loss = mp.log(1 - q + q * mp.exp((y - 1 / (2 * s)) / s))
        chance = (1 - q) * mp.npdf(y) + q * mp.npdf(y - 1 / s)
        return chance * one(mp.mpf(epsilon) - loss)

    split = s * mp.log((mp.expm1(epsilon) + q) / q) + 1 / (2 * s)
    edges = [-14, -7, -3, 0, 3, split - 1, split, split + 1, split + 14]
    edges = sorted({mp.mpf(edge) for edge in edges})
    return float(mp.quad(integrand, edges))


@pytest.mark.parametrize(
    ("rate", "noise", "epsilon"),
    [(0.3, 0.5, 4.0), (1e-3, 0.5, 0.6), (0.5, 2.0, 1.0), (1e-2, 1.0, 0.3)],
)
def test_splitting_off_jumps_agrees_with_integrating_over_two_outputs(
    rate, noise, epsilon
):
    """Two steps are the hardest case of few: nothing is smooth yet."""
    truth = delta_of_two_steps(rate, noise, epsilon)
    loss = composed(rate, noise, 2, REMOVE)
    here = cumulants.at_epsilon(loss, epsilon, cumulants.guess(loss, -10.0))
    for tolerance in (1e-2, 1e-3):
        found = jumps.SplitNodes(
            here,
            epsilon,
            log_delta=math.log(truth),
            tolerance=tolerance,
            most=20_000,
        )
        low, high = found.bracket(epsilon)
        assert low <= truth <= high
        assert high - low <= 10 * tolerance * truth


def test_capping_far_outputs_agrees_with_30_digits():
    """What the cap leaves out must be counted, and no more than it."""
    rate, noise, steps, epsilon, direction, truth = CAPPED
    loss = composed(rate, noise, steps, direction)
    low, high = solve.delta_bracket(loss, epsilon)
    assert low <= truth <= high
    # The cap costs 1e-8 of an estimate of delta that is itself rough here; what counts
    # is the epsilon below.
    assert high - low <= 1e-2 * truth
    lower, upper = solve.epsilon_bracket(loss, truth)
    assert lower <= epsilon * (1 + 1e-9)
    assert upper >= epsilon * (1 - 1e-9)
    assert upper - lower <= 7e-7 * upper


@pytest.mark.parametrize("mu", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-6, 1e-11])
def test_the_contour_reproduces_the_closed_form_of_a_gaussian(mu, delta, monkeypatch):
    """Two routes to a case that has an exact answer."""
    exact = solve.epsilon_bracket(Loss(mu * mu, (), (), REMOVE), delta)
    monkeypatch.setattr(closed, "delta", lambda *_: None)
    found = solve.epsilon_bracket(Loss(mu * mu, (), (), REMOVE), delta)
    assert max(exact[0], found[0]) <= min(exact[1], found[1])
    assert found[1] - found[0] <= 1e-6 * max(found[1], 1e-3)


def test_a_gaussian_of_rate_almost_one_is_almost_a_gaussian():
    """The sampled formulas must not lose their footing at the edge."""
    plain = solve.epsilon_bracket(Loss(50 / 9.0, (), (), REMOVE), 1e-5)
    nearly = solve.epsilon_bracket(composed(1 - 1e-9, 3.0, 50, REMOVE), 1e-5)
    assert nearly[1] == pytest.approx(plain[1], rel=1e-6)


def test_what_is_too_hard_says_so():
    """Noise of a fiftieth of the sensitivity: a guess would be worse."""
    with (
        np.errstate(all="ignore"),
        pytest.raises(CannotCertifyError, match="cannot bound its error"),
    ):
        solve.epsilon_bracket(composed(0.5, 0.02, 10, REMOVE), 1e-5)


def test_a_contour_of_atoms_says_so():
    """Atoms have no density; a grid must take them."""
    coins = (Pure(0.5, two_point=True, n=2), Pure(0.3, two_point=True, n=3))
    with pytest.raises(CannotCertifyError, match="atoms"):
        cumulants.cumulants(Loss(0.0, (), coins, REMOVE), 1.0)
