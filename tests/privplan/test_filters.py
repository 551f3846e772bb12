"""Filters: what no analyst can beat, and one analyst who beats everything else."""

import math
import subprocess
import sys
from functools import cache

import pytest

from privplan import accounting, filter_costs, renyi
from privplan.budget import Adjacency, PrivacyBudget
from privplan.errors import (
    BudgetExceededError,
    InfeasibleBudgetError,
    ParameterError,
    PolicyError,
)
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
from privplan.filters import Composition, FilterKind, PrivacyFilter


def budget(epsilon=1.0, delta=1e-5, adjacency=Adjacency.ADD_OR_REMOVE_ONE):
    return PrivacyBudget(
        target_epsilon=epsilon, target_delta=delta, adjacency=adjacency
    )


def a_filter(kind, orders=(), **named):
    return PrivacyFilter(kind=kind, budget=budget(**named), orders=orders)


def times(event, count):
    return SelfComposedEvent(event=event, count=count)


KINDS = [
    (FilterKind.GDP, ()),
    (FilterKind.ZCDP, ()),
    (FilterKind.RDP, (16.0,)),
    (FilterKind.RDP, (8.0, 24.0, 64.0)),
]


# The strongest analyst. Queries are two-point ones whose losses are whole multiples of
# a unit, so every path of results ends on a lattice, and the best strategy at each
# point follows from those one step on. Its value is the delta of the whole game.


def worst_delta(admits, sizes, unit, epsilon):
    chance = [1 / (1 + math.exp(-unit * size)) for size in sizes]
    allowed = cache(admits)

    @cache
    def value(loss, counts):
        best = max(0.0, -math.expm1(epsilon - loss * unit))
        for i, size in enumerate(sizes):
            more = (*counts[:i], counts[i] + 1, *counts[i + 1 :])
            if allowed(more):
                up, down = value(loss + size, more), value(loss - size, more)
                best = max(best, chance[i] * up + (1 - chance[i]) * down)
        return best

    return value(0, (0,) * len(sizes))


def exact_delta(counts, sizes, unit, epsilon):
    """Compose fixed counts, by convolving their losses."""
    chances = {0: 1.0}
    for size, count in zip(sizes, counts, strict=True):
        p = 1 / (1 + math.exp(-unit * size))
        for _ in range(count):
            after = {}
            for loss, weight in chances.items():
                after[loss + size] = after.get(loss + size, 0.0) + weight * p
                after[loss - size] = after.get(loss - size, 0.0) + weight * (1 - p)
            chances = after
    return sum(
        weight * max(0.0, -math.expm1(epsilon - loss * unit))
        for loss, weight in chances.items()
    )


GAMES = [((1, 5), 0.1, 0.5, 0.05), ((1, 5), 0.1, 1.0, 0.01), ((1, 4), 0.2, 1.5, 0.01)]


@pytest.mark.parametrize(("sizes", "unit", "epsilon", "delta"), GAMES)
def test_stopping_at_the_exact_account_is_beaten_by_choosing_late(
    sizes, unit, epsilon, delta
):
    """Why a filter at all: the natural one lets delta be exceeded by 20 to 35 %."""

    def natural(counts):
        return exact_delta(counts, sizes, unit, epsilon) <= delta

    assert worst_delta(natural, sizes, unit, epsilon) > 1.2 * delta


@pytest.mark.parametrize(("sizes", "unit", "epsilon", "delta"), GAMES)
@pytest.mark.parametrize(
    ("kind", "orders"),
    [
        (FilterKind.ZCDP, ()),
        (FilterKind.RDP, (6.0,)),
        (FilterKind.RDP, (9.0,)),
        (FilterKind.RDP, (5.0, 12.0)),
        (FilterKind.RDP, (3.0, 6.0, 12.0, 24.0)),
    ],
)
def test_the_strongest_analyst_cannot_pass_the_delta_of_a_filter(
    sizes, unit, epsilon, delta, kind, orders
):
    """Every strategy over two kinds of queries, by backward induction."""
    found = a_filter(kind, orders, epsilon=epsilon, delta=delta)

    def admits(counts):
        parts = [
            times(RandomizedResponseEvent(epsilon=unit * size), count)
            for size, count in zip(sizes, counts, strict=True)
            if count
        ]
        return found.admits(ComposedEvent(events=tuple(parts)))

    worst = worst_delta(admits, sizes, unit, epsilon)
    assert 0 < worst <= delta


def test_a_filter_that_counts_half_is_caught_by_the_strongest_analyst():
    """Mutant: the game really has teeth at twice the limit."""
    sizes, unit, epsilon, delta = GAMES[0]
    found = a_filter(FilterKind.RDP, (9.0,), epsilon=epsilon, delta=delta)

    def admits(counts):
        spent = sum(
            count * renyi.divergence(RandomizedResponseEvent(epsilon=unit * size), 9.0)
            for size, count in zip(sizes, counts, strict=True)
        )
        return 0.5 * spent <= found.limits[0]

    assert worst_delta(admits, sizes, unit, epsilon) > delta


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-9])
@pytest.mark.parametrize(("kind", "orders"), [*KINDS[:2], (FilterKind.RDP, (300.0,))])
def test_a_filter_at_its_limit_has_its_target_and_no_less(epsilon, delta, kind, orders):
    """The limit is found backward and claimed forward."""
    found = a_filter(kind, orders, epsilon=epsilon, delta=delta)
    claim = found.epsilon_if_all_spent
    # A Gaussian limit is rounded to six digits of noise.
    assert epsilon * (1 - 1e-5) <= claim <= epsilon


@pytest.mark.parametrize(("kind", "orders"), KINDS)
def test_what_a_filter_admits_was_worth_its_target_if_committed(kind, orders):
    """A filter may cost more than the exact account, never less."""
    found = a_filter(kind, orders)
    query = GaussianEvent(noise_multiplier=20.0)
    count = 0
    while found.admits(query):
        found = found.after(query)
        count += 1
    exact = accounting.epsilon(times(query, count), delta=1e-5)
    assert 0.5 < exact.upper <= 1.0
    assert len(found.admitted) == count


def test_for_plain_gaussians_choosing_late_costs_nothing():
    """The theorem of Smith and Thakurta; one more query would pass the target."""
    found, count = a_filter(FilterKind.GDP), 0
    query = GaussianEvent(noise_multiplier=20.0)
    while found.admits(query):
        found, count = found.after(query), count + 1
    one_more = accounting.epsilon(times(query, count + 1), delta=1e-5)
    assert one_more.lower > 1.0


@pytest.mark.parametrize(("kind", "orders"), KINDS)
def test_a_count_is_spent_as_often_as_it_says(kind, orders):
    """A count that a filter forgets is a run for free."""
    query = GaussianEvent(noise_multiplier=30.0)
    at_once = a_filter(kind, orders).after(times(query, 6))
    one_by_one = a_filter(kind, orders)
    for _ in range(6):
        one_by_one = one_by_one.after(query)
    assert at_once.spent == pytest.approx(one_by_one.spent, rel=1e-12)
    single = a_filter(kind, orders).after(query)
    assert at_once.spent == pytest.approx([6 * x for x in single.spent], rel=1e-12)


@pytest.mark.parametrize(("kind", "orders"), KINDS)
def test_what_is_refused_is_not_spent_and_less_still_fits(kind, orders):
    """A refusal decides nothing about smaller events after it."""
    found = a_filter(kind, orders).after(GaussianEvent(noise_multiplier=6.0))
    big, small = GaussianEvent(noise_multiplier=2.0), GaussianEvent(noise_multiplier=40)
    before = found.spent
    assert not found.admits(big)
    with pytest.raises(BudgetExceededError, match="of its limit") as caught:
        found.after(big)
    assert caught.value.needed > 1
    assert found.spent == before
    assert found.after(small).admitted == (*found.admitted, small)


@pytest.mark.parametrize(("kind", "orders"), KINDS)
def test_what_is_said_to_be_left_is_admitted_and_hardly_more(kind, orders):
    """The sentence a person plans the next run by."""
    found = a_filter(kind, orders).after(GaussianEvent(noise_multiplier=6.0))
    noise = float(found.left.split("multiplier ")[1].split(" ")[0])
    assert found.admits(GaussianEvent(noise_multiplier=noise))
    # Rounded up to three digits, with 0.1 % of the limit in hand.
    assert not found.admits(GaussianEvent(noise_multiplier=noise * 0.97))


def test_a_full_filter_says_that_nothing_is_left():
    found = a_filter(FilterKind.GDP)
    exact = GaussianEvent(noise_multiplier=found.limits[0] ** -0.5 * (1 + 1e-6))
    assert found.after(exact).left == "nothing"
    assert found.after(NoOpEvent()).spent == (0.0,)


def test_sampled_training_is_admitted_by_renyi_divergences():
    """The order is committed from the plan, and the plan then fits."""
    step = PoissonSampledGaussianEvent(sample_rate=0.02, noise_multiplier=2.0)
    plan = times(step, 200)
    order = filter_costs.best_order(plan, budget())
    found = a_filter(FilterKind.RDP, (order,))
    most = 0
    while found.admits(plan):
        found, most = found.after(plan), most + 1
    assert most >= 1
    for other in (2.0, order / 2, order * 2, 200.0):
        rival, count = a_filter_or_none(other), 0
        while rival is not None and rival.admits(plan):
            rival, count = rival.after(plan), count + 1
        assert count <= most


def a_filter_or_none(order):
    try:
        return a_filter(FilterKind.RDP, (order,))
    except InfeasibleBudgetError:
        return None


def test_one_order_with_room_is_enough_and_is_paid_for_beforehand():
    """With several orders each has less room than it would have alone."""
    low, high = a_filter(FilterKind.RDP, (16.0,)), a_filter(FilterKind.RDP, (64.0,))
    pair = a_filter(FilterKind.RDP, (16.0, 64.0))
    assert pair.limits[0] < low.limits[0]
    assert pair.limits[1] < high.limits[0]
    # Rare and barely noised: hopeless at order 64, cheap at order 16.
    rare = PoissonSampledGaussianEvent(sample_rate=1e-4, noise_multiplier=1.0)
    assert not high.admits(rare)
    assert pair.admits(times(rare, 10))


@pytest.mark.parametrize(
    ("kind", "orders", "event"),
    [
        (FilterKind.GDP, (), LaplaceEvent(noise_multiplier=9.0)),
        (FilterKind.GDP, (), RandomizedResponseEvent(epsilon=0.01)),
        (
            FilterKind.GDP,
            (),
            PoissonSampledGaussianEvent(sample_rate=0.1, noise_multiplier=9.0),
        ),
        (
            FilterKind.ZCDP,
            (),
            PoissonSampledGaussianEvent(sample_rate=0.1, noise_multiplier=9.0),
        ),
        (FilterKind.GDP, (), NonPrivateEvent()),
        (FilterKind.ZCDP, (), NonPrivateEvent()),
        (FilterKind.RDP, (16.0,), NonPrivateEvent()),
    ],
)
def test_an_event_without_a_bound_is_refused_not_guessed(kind, orders, event):
    """Silence would admit it for nothing."""
    found = a_filter(kind, orders)
    with pytest.raises(PolicyError, match="no bound"):
        found.admits(event)
    with pytest.raises(PolicyError, match="no bound"):
        found.after(ComposedEvent(events=(GaussianEvent(noise_multiplier=50), event)))


def test_a_pure_query_fits_a_zcdp_filter_at_half_its_square():
    """Bun and Steinke, proposition 1.4; and its own Renyi divergence is below that."""
    for epsilon in (0.01, 0.5, 2.0, 9.0):
        query = RandomizedResponseEvent(epsilon=epsilon)
        rho = filter_costs.concentrated(query)
        for order in (1.25, 2.0, 10.0, 300.0):
            assert renyi.divergence(query, order) <= order * rho * (1 + 1e-9)


def test_filters_that_mean_nothing_are_refused():
    with pytest.raises(PolicyError, match="replace-one"):
        a_filter(FilterKind.GDP, adjacency=Adjacency.REPLACE_ONE)
    with pytest.raises(ParameterError, match="0 orders"):
        a_filter(FilterKind.RDP)
    with pytest.raises(ParameterError, match="1 orders"):
        a_filter(FilterKind.ZCDP, (4.0,))
    with pytest.raises(ParameterError, match="twice"):
        a_filter(FilterKind.RDP, (4.0, 4.0))
    with pytest.raises(ParameterError, match="nan"):
        a_filter(FilterKind.RDP, (math.nan,))
    with pytest.raises(InfeasibleBudgetError, match="no room"):
        a_filter(FilterKind.RDP, (1.5,))


def test_a_plan_too_dear_for_any_order_is_refused_with_the_figure():
    with pytest.raises(InfeasibleBudgetError, match=r"epsilon 3\.5") as caught:
        filter_costs.best_order(
            times(
                PoissonSampledGaussianEvent(sample_rate=0.02, noise_multiplier=1.1),
                1000,
            ),
            budget(),
        )
    assert caught.value.needed > 3.25


def test_each_way_of_choosing_has_its_sentence():
    """A reader must see which theorem stands behind a number."""
    texts = {kind: kind.sentence for kind in Composition}
    assert "exactly" in texts[Composition.COMMITTED]
    assert "filter" in texts[Composition.ADAPTIVE]
    assert all(text.endswith(".") for text in texts.values())


def test_filters_and_lines_load_no_numbers_until_something_is_counted():
    """A command that only parses or prints must not wait for numpy."""
    code = (
        "import sys, privplan.filters, privplan.selection, privplan.line_grammar;"
        "privplan.line_grammar.parse('labels:50');"
        "print(sorted({'numpy', 'scipy', 'dp_accounting', 'torch'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
