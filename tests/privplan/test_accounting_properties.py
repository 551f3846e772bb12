"""What must hold for every composition, whatever its phases are."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privplan import accounting, gdp, grids, profile, risk, solve_for, tradeoff
from privplan.batches import dp_sgd
from privplan.budget import PrivacyBudget
from privplan.errors import ParameterError
from privplan.events import GaussianEvent, LaplaceEvent, RandomizedResponseEvent
from privplan.phase_text import parse
from privplan.questions import as_event, calibrate, epsilon

SGD = st.builds(
    "sgd:{:.6g},{:.6g},{}".format,
    st.floats(0.03, 0.9), st.floats(1.0, 20.0), st.integers(100, 900),
)  # fmt: skip
QUERY = st.one_of(
    st.builds("gaussian:{:.6g},{}".format, st.floats(2.0, 40.0), st.integers(1, 9)),
    st.builds("pure:{:.6g},{}".format, st.floats(0.01, 0.3), st.integers(1, 4)),
    st.builds("laplace:{:.6g},1".format, st.floats(5.0, 90.0)),
)
FEW = settings(max_examples=8, deadline=None)


@FEW
@given(sgd=SGD, queries=st.lists(QUERY, max_size=3), order=st.randoms())
def test_the_order_of_phases_does_not_matter_and_no_ops_cost_nothing(
    sgd, queries, order
):
    parts = [sgd, *queries]
    straight = epsilon(parts, delta=1e-5)
    mixed = [*parts, "none", "synthetic"]
    order.shuffle(mixed)
    assert epsilon(mixed, delta=1e-5) == straight


@FEW
@given(text=st.one_of(SGD, QUERY), times=st.integers(2, 5))
def test_a_count_of_n_is_n_phases_of_count_1(text, times):
    """A count that any branch forgets makes epsilon too small, and raises nothing."""
    head, _, count = text.rpartition(",")
    many = f"{head},{int(count) * times}"
    together = accounting.delta(as_event(many), epsilon=0.5)
    assert accounting.delta(as_event([text] * times), epsilon=0.5) == together


@FEW
@given(sgd=SGD, query=QUERY, more=st.floats(1.05, 3.0))
def test_more_of_anything_costs_more_and_more_noise_costs_less(sgd, query, more):
    """Brackets are compared end to end: their widths never hide the order."""
    base = epsilon([sgd, query], delta=1e-5)
    rate, noise, steps = (float(word) for word in parse(sgd).words)

    def other(rate=rate, noise=noise, steps=steps):
        text = f"sgd:{min(rate, 1.0)!r},{noise!r},{int(steps)}"
        return epsilon([text, query], delta=1e-5)

    assert other(rate=rate / more).lower <= base.upper
    assert other(noise=noise * more).lower <= base.upper
    assert other(steps=steps * more).upper >= base.lower
    assert epsilon([sgd, query], delta=1e-5 * more).lower <= base.upper
    assert epsilon([sgd, query, "gaussian:50"], delta=1e-5).upper >= base.lower


@FEW
@given(epsilon_0=st.floats(0.05, 1.0), at=st.floats(0.0, 1.0))
def test_a_coin_loses_more_than_any_pure_query_of_its_epsilon(epsilon_0, at):
    """Laplace at scale 1/e is e-private, and so is a noisy maximum; both are below."""
    coin = RandomizedResponseEvent(epsilon=epsilon_0)
    laplace = LaplaceEvent(noise_multiplier=1 / epsilon_0)
    below = accounting.delta(laplace, epsilon=at * epsilon_0).upper
    assert below <= accounting.delta(coin, epsilon=at * epsilon_0).upper + 1e-12


QUERY_1 = GaussianEvent(noise_multiplier=1.0)
BUDGET = PrivacyBudget(target_epsilon=1.0, target_delta=1e-5)
REFUSES = {
    "GaussianEvent": lambda x: GaussianEvent(noise_multiplier=x),
    "LaplaceEvent": lambda x: LaplaceEvent(noise_multiplier=x),
    "RandomizedResponseEvent": lambda x: RandomizedResponseEvent(epsilon=x),
    "dp_sgd rate": lambda x: dp_sgd(sample_rate=x, noise_multiplier=1, steps=1),
    "dp_sgd noise": lambda x: dp_sgd(sample_rate=1, noise_multiplier=x, steps=1),
    "dp_sgd steps": lambda x: dp_sgd(sample_rate=1, noise_multiplier=1, steps=x),
    "budget epsilon": lambda x: PrivacyBudget(target_epsilon=x, target_delta=0.1),
    "budget delta": lambda x: PrivacyBudget(target_epsilon=1.0, target_delta=x),
    "text": lambda x: as_event(f"gaussian:{x!r}"),
    "calibrate": lambda x: calibrate(f"sgd:{x!r},?,3", budget=BUDGET),
    "accounting.epsilon": lambda x: accounting.epsilon(QUERY_1, delta=x),
    "solve_for.epsilon": lambda x: solve_for.epsilon(QUERY_1, delta=x),
    "solve_for.expected_batch_size": lambda x: solve_for.expected_batch_size(
        lambda _: QUERY_1, records=x, budget=BUDGET
    ),
    "solve_for.scaled": lambda x: solve_for.scaled(QUERY_1, x),
    "profile.epsilons": lambda x: profile.epsilons(QUERY_1, [0.1, x]),
    "risk.true_positive_rate": lambda x: risk.true_positive_rate(
        QUERY_1, false_positive_rate=x
    ),
    "tradeoff.curve": lambda x: tradeoff.curve(QUERY_1, [0.1], tolerance=x),
    "gdp.matching_mu": lambda x: gdp.matching_mu(QUERY_1, delta=x),
    "gdp.bounding_mu": lambda x: gdp.bounding_mu(QUERY_1, most_epsilon=x),
    "gdp.regret": lambda x: gdp.regret(QUERY_1, x),
    "grids.epsilons": lambda x: grids.epsilons(x, 0.1, 3, delta=1e-5),
    "grids.noise_multipliers": lambda x: grids.noise_multipliers(x, 3, budget=BUDGET),
}
ZERO_IS_FINE = {
    "accounting.delta": lambda x: accounting.delta(QUERY_1, epsilon=x),
    "solve_for.delta": lambda x: solve_for.delta(QUERY_1, epsilon=x),
    "profile.deltas": lambda x: profile.deltas(QUERY_1, x),
    "risk.true_positive_rates": lambda x: risk.true_positive_rates(
        QUERY_1, false_positive_rates=x
    ),
}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 0.0, -0.5])
@pytest.mark.parametrize("name", [*REFUSES, *ZERO_IS_FINE])
def test_what_is_no_number_of_its_kind_is_refused_everywhere(name, bad):
    """A NaN that any accountant reads as 0 is "perfect privacy"."""
    ask = (REFUSES | ZERO_IS_FINE)[name]
    if bad == 0 and name in ZERO_IS_FINE:
        ask(bad)
        return
    with pytest.raises(ParameterError):
        ask(bad)
