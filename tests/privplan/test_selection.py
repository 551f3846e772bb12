"""Choosing among runs: bounds against games whose true cost can be computed."""

import math

import numpy as np
import pytest
from scipy import special

from privplan import accounting, renyi, selection
from privplan.budget import Adjacency, PrivacyBudget
from privplan.errors import InfeasibleBudgetError, ParameterError, PolicyError
from privplan.events import (
    ComposedEvent,
    GaussianEvent,
    LaplaceEvent,
    NonPrivateEvent,
    NoOpEvent,
    PoissonSampledGaussianEvent,
    RandomizedResponseEvent,
    SelfComposedEvent,
)
from privplan.run_counts import NegativeBinomialRuns, PoissonRuns, draw

LAWS = [
    NegativeBinomialRuns.expecting(5.0, shape=1.0),
    NegativeBinomialRuns.expecting(20.0, shape=0.0),
    NegativeBinomialRuns.expecting(8.0, shape=-0.5),
    NegativeBinomialRuns.expecting(30.0, shape=3.0),
    PoissonRuns(mean=6.0),
]
MNIST = SelfComposedEvent(
    event=PoissonSampledGaussianEvent(sample_rate=0.0683, noise_multiplier=16.92),
    count=4394,
)


def generating(runs, x):
    """E[x^K], from the paper's closed forms; not from our probabilities."""
    if isinstance(runs, PoissonRuns):
        return np.exp(runs.mean * (x - 1))
    g, s = runs.stopping, runs.shape
    left = 1 - (1 - g) * x
    if s == 0:
        return np.log(left) / math.log(g)
    return (left**-s - 1) / (g**-s - 1)


def true_epsilon(p, q, delta):
    """Find epsilon of two discrete distributions, the worse direction, by halving."""

    def lost(one, other, epsilon):
        return float(np.maximum(one - math.exp(epsilon) * other, 0).sum())

    low, high = 0.0, 60.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if max(lost(p, q, middle), lost(q, p, middle)) <= delta:
            high = middle
        else:
            low = middle
    return high


@pytest.mark.parametrize("runs", LAWS, ids=repr)
@pytest.mark.parametrize("noise", [1.0, 4.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-6])
def test_the_best_of_noisy_sums_costs_no_more_than_the_bound(runs, noise, delta):
    """The largest of K Gaussian outputs: its distribution is E[F^K], exactly."""
    y = np.linspace(-9 * noise, 9 * noise + 1, 20_001)
    with_it = np.diff(generating(runs, special.ndtr((y - 1) / noise)))
    without = np.diff(generating(runs, special.ndtr(y / noise)))
    # Reading the output on a grid can only make the two harder to tell apart.
    truth = true_epsilon(with_it, without, delta)
    event = GaussianEvent(noise_multiplier=noise)
    found = selection.epsilon_upper(event, runs, delta=delta)
    assert truth <= found < math.inf
    assert found > accounting.epsilon(event, delta=delta).upper


@pytest.mark.parametrize("runs", LAWS[:4], ids=repr)
@pytest.mark.parametrize("epsilon", [0.05, 0.5, 2.0])
def test_the_best_of_pure_runs_costs_two_plus_shape_times_one(runs, epsilon):
    """Corollary 3, and the two-answer game that it must cover."""
    event = RandomizedResponseEvent(epsilon=epsilon)
    found = selection.epsilon_upper(event, runs, delta=1e-12)
    assert found <= (2 + runs.shape) * epsilon * (1 + 1e-9)
    true_answer = 1 / (1 + math.exp(-epsilon))
    for worse in (true_answer, 1 - true_answer):  # which answer is the better one
        lost_p, lost_q = generating(runs, worse), generating(runs, 1 - worse)
        p, q = np.array([lost_p, 1 - lost_p]), np.array([lost_q, 1 - lost_q])
        assert true_epsilon(p, q, 1e-12) <= found


@pytest.mark.parametrize("shape", [0.5, 1.0, 3.0])
def test_two_plus_shape_times_one_is_reached(shape):
    """A factor of 1 + shape, or of 2, would be a wrong theorem.

    A rare best answer is e^eps rarer with the record, and a far rarer second best e^eps
    likelier. The second is released if it occurs and the best does not: its density
    times E[K x^(K-1)], which falls with the power shape + 1 of the best one's mass.
    """
    stopping, rare, epsilon = 1e-12, 1e-5, 0.5

    def slope(x):
        return (1 - (1 - stopping) * x) ** -(shape + 1)

    with_it = math.exp(epsilon) * slope(1 - rare)
    without = slope(1 - rare * math.exp(epsilon))
    loss = math.log(with_it / without)
    runs = NegativeBinomialRuns(shape=shape, stopping=stopping)
    event = LaplaceEvent(noise_multiplier=2.0)
    found = selection.epsilon_upper(event, runs, delta=1e-12)
    assert loss <= found
    assert loss == pytest.approx((2 + shape) * epsilon, rel=1e-6)


@pytest.mark.parametrize("shape", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("mean", [2.0, 10.0, 300.0])
def test_dp_accounting_selects_at_the_same_price(shape, mean):
    """Its theorem 2, given our divergences; it has no negative shapes."""
    from dp_accounting.rdp import rdp_privacy_accountant as peer

    runs = NegativeBinomialRuns.expecting(mean, shape=shape)
    orders, one = np.array(renyi.ORDERS), np.array(renyi.curve(MNIST))
    many = peer._compute_rdp_repeat_and_select(orders, one, mean, shape)
    theirs, _ = peer.compute_epsilon(orders, many, 1e-5)
    found = selection.epsilon_upper(MNIST, runs, delta=1e-5)
    # Theirs solves for the stopping probability to 1e-9.
    assert found == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("mean", [1.5, 10.0, 40.0])
def test_dp_accounting_pays_more_for_poisson_selection(mean):
    """Theorem 6 needs a delta of one run; ours is exact, its own by divergences."""
    from dp_accounting.rdp import rdp_privacy_accountant as peer

    orders, one = np.array(renyi.ORDERS), np.array(renyi.curve(MNIST))
    many = peer._compute_rdp_repeat_and_select(orders, one, mean, math.inf)
    theirs, _ = peer.compute_epsilon(orders, many, 1e-5)
    found = selection.epsilon_upper(MNIST, PoissonRuns(mean=mean), delta=1e-5)
    assert renyi.epsilon_upper(MNIST, delta=1e-5) < found <= theirs * (1 + 1e-9)


@pytest.mark.parametrize("noise", [2.0, 6.0])
@pytest.mark.parametrize("mean", [0.5, 3.0, 20.0])
def test_poisson_selection_of_a_gaussian_is_theorem_6_at_the_best_order(noise, mean):
    """Recomputed from the paper's line, with the Gaussian's own delta."""
    delta, costs = 1e-6, []
    for a in renyi.ORDERS:
        at = math.log(a / (a - 1))
        one = special.ndtr(0.5 / noise - at * noise)
        lost = one - math.exp(at) * special.ndtr(-0.5 / noise - at * noise)
        whole = 0.5 * a / noise**2 + mean * lost + math.log(mean) / (a - 1)
        rest = (math.log(delta) + math.log(a)) / (a - 1)
        costs.append(max(whole, 0.0) + math.log1p(-1 / a) - rest)
    event, runs = GaussianEvent(noise_multiplier=noise), PoissonRuns(mean=mean)
    found = selection.epsilon_upper(event, runs, delta=delta)
    assert found == pytest.approx(min(costs), rel=1e-9)


@pytest.mark.parametrize("runs", LAWS, ids=repr)
def test_the_law_of_the_number_of_runs_is_what_the_theorem_is_about(runs):
    """A drawn number that follows another law voids the bound."""
    counts = np.arange(0, 3000)
    chances = np.array([runs.probability(int(k)) for k in counts])
    # What lies beyond 3000 runs is below 1e-9 for all of these laws.
    assert chances.sum() == pytest.approx(1.0, abs=1e-9)
    assert chances @ counts == pytest.approx(runs.mean, rel=1e-6)
    for x in (0.0, 0.3, 0.9):
        expected = float(generating(runs, x))
        assert chances @ x**counts == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("runs", LAWS, ids=repr)
def test_drawing_inverts_the_distribution(runs):
    """Evenly spread uniforms must fall on each count as often as its probability."""
    uniforms = (np.arange(4000) + 0.5) / 4000
    drawn = np.bincount([draw(runs, float(u)) for u in uniforms], minlength=40) / 4000
    for count in range(8):
        # One uniform of 4000 may fall on either side of each boundary.
        assert drawn[count] == pytest.approx(runs.probability(count), abs=2 / 4000)
    assert draw(runs, 1 - 2**-53) >= runs.mean


def test_expecting_more_runs_or_a_larger_shape_costs_more():
    costs = [
        selection.epsilon_upper(
            MNIST, NegativeBinomialRuns.expecting(mean, shape=shape), delta=1e-5
        )
        for mean, shape in [(3.0, 0.0), (10.0, 0.0), (10.0, 0.5), (10.0, 1.0)]
    ]
    assert costs == sorted(costs)
    assert len(set(costs)) == 4


def test_choosing_is_cheaper_than_paying_for_every_run():
    """Ten runs composed, against the best of ten expected."""
    ten = SelfComposedEvent(event=MNIST, count=10)
    composed = accounting.epsilon(ten, delta=1e-5).upper
    chosen = selection.epsilon_upper(
        MNIST, NegativeBinomialRuns.expecting(10.0, shape=0.0), delta=1e-5
    )
    assert chosen < 0.6 * composed


@pytest.mark.parametrize(
    "runs",
    [NegativeBinomialRuns.expecting(10.0, shape=0.0), PoissonRuns(mean=4.0)],
    ids=["negative-binomial", "poisson"],
)
def test_the_noise_found_keeps_the_budget_and_one_digit_less_does_not(runs):
    """The number a run is trained with."""
    budget = PrivacyBudget(target_epsilon=1.5, target_delta=1e-5)

    def make(noise):
        step = PoissonSampledGaussianEvent(sample_rate=0.1, noise_multiplier=noise)
        return SelfComposedEvent(event=step, count=300)

    noise = selection.noise_multiplier(make, runs, budget=budget)
    assert selection.epsilon_upper(make(noise), runs, delta=1e-5) <= 1.5
    # Four digits, found to 1e-5.
    less = selection.epsilon_upper(make(noise * (1 - 1.1e-3)), runs, delta=1e-5)
    assert less > 1.5


def test_budgets_that_cannot_be_kept_are_refused():
    def make(noise):
        fixed = GaussianEvent(noise_multiplier=1.0)
        return ComposedEvent(events=(fixed, GaussianEvent(noise_multiplier=noise)))

    budget = PrivacyBudget(target_epsilon=1.0, target_delta=1e-5)
    with pytest.raises(InfeasibleBudgetError, match="very much noise"):
        selection.noise_multiplier(make, LAWS[0], budget=budget)
    replace = PrivacyBudget(
        target_epsilon=1.0, target_delta=1e-5, adjacency=Adjacency.REPLACE_ONE
    )
    with pytest.raises(PolicyError, match="replace-one"):
        selection.noise_multiplier(make, LAWS[0], budget=replace)


def test_selection_among_what_has_no_noise_has_no_bound():
    for runs in (LAWS[0], LAWS[4]):
        found = selection.epsilon_upper(NonPrivateEvent(), runs, delta=1e-5)
        assert found == math.inf
        assert selection.epsilon_upper(NoOpEvent(), runs, delta=1e-5) == 0


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_numbers_of_runs_that_mean_nothing_are_refused(bad):
    with pytest.raises(ParameterError):
        PoissonRuns(mean=bad)
    with pytest.raises(ParameterError):
        NegativeBinomialRuns(shape=1.0, stopping=bad)
    with pytest.raises(ParameterError):
        NegativeBinomialRuns.expecting(bad)
    with pytest.raises(ParameterError):
        draw(PoissonRuns(mean=1.0), bad if bad else 1.0)


@pytest.mark.parametrize("shape", [-1.0, -2.0, math.nan, math.inf])
def test_a_shape_outside_the_theorem_is_refused(shape):
    """At -1 the law puts all weight on one run and the bound is not proved."""
    with pytest.raises(ParameterError, match="shape"):
        NegativeBinomialRuns(shape=shape, stopping=0.5)


@pytest.mark.parametrize("candidates", [2, 3, 8])
def test_a_noisy_maximum_is_pure_for_every_pair_of_scores(candidates):
    """All neighbours of all score vectors on a small lattice, in closed form."""
    pick = selection.NoisyMaximum(epsilon=0.7, candidates=candidates)
    rng = np.random.default_rng(3)
    worst = 0.0
    for _ in range(200):
        scores = rng.integers(0, 4, candidates)
        moved = scores + rng.integers(-1, 2, candidates)
        # Gumbel noise makes the largest score a softmax (Gumbel 1954).
        one = special.softmax(scores / pick.noise_scale)
        other = special.softmax(moved / pick.noise_scale)
        worst = max(worst, float(np.abs(np.log(one / other)).max()))
    assert worst <= 0.7
    # The worst case: one score rises, all others fall, from far behind.
    scores = np.zeros(candidates)
    scores[0] = -60.0
    one = special.softmax(scores / pick.noise_scale)
    moves = np.full(candidates, -1.0)
    moves[0] = 1.0
    other = special.softmax((scores + moves) / pick.noise_scale)
    assert math.log(other[0] / one[0]) == pytest.approx(0.7, rel=1e-6)
    assert pick.event == RandomizedResponseEvent(epsilon=0.7)


def test_the_chosen_candidate_is_as_good_as_promised():
    """The shortfall is exceeded with at most the stated chance; worst case: ties."""
    pick = selection.NoisyMaximum(epsilon=0.5, candidates=10)
    gap = pick.shortfall(0.1)
    scores = np.full(10, -gap)
    scores[0] = 0.0
    missed = 1 - special.softmax(scores / pick.noise_scale)[0]
    assert 0.05 < missed <= 0.1


def test_noisy_scores_are_one_vector_query():
    """Sensitivity sqrt(k): k scores each moved by 1."""
    scores = selection.NoisyScores(noise_std=60.0, candidates=9)
    singly = SelfComposedEvent(event=GaussianEvent(noise_multiplier=60.0), count=9)
    together = accounting.epsilon(scores.event, delta=1e-6)
    assert together.upper == pytest.approx(
        accounting.epsilon(singly, delta=1e-6).upper, rel=1e-9
    )
