"""The bracket: which route answers, both directions, and mutants of both."""

import math
import subprocess
import sys
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privplan import accounting, calibration
from privplan.batches import dp_sgd
from privplan.budget import Adjacency, PrivacyBudget
from privplan.contour import solve
from privplan.contour.loss import Direction
from privplan.errors import PolicyError
from privplan.events import (
    ComposedEvent,
    GaussianEvent,
    LaplaceEvent,
    NoOpEvent,
    PoissonSampledGaussianEvent,
    RandomizedResponseEvent,
    SelfComposedEvent,
)


def sgd(rate, noise, steps):
    step = PoissonSampledGaussianEvent(sample_rate=rate, noise_multiplier=noise)
    return SelfComposedEvent(event=step, count=steps)


def times(event, count):
    return SelfComposedEvent(event=event, count=count)


def both(*parts):
    return ComposedEvent(events=parts)


def test_importing_the_accountant_loads_no_numbers():
    """A command that only prints help must not wait for numpy."""
    code = (
        "import sys, privplan.accounting, privplan.calibration, privplan.risk;"
        "heavy = {'numpy', 'scipy', 'dp_accounting', 'prv_accountant', 'torch'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_the_route_is_named():
    """A reader of a report must know what stands behind a number."""
    routes = {
        "nothing read": NoOpEvent(),
        "closed form": GaussianEvent(noise_multiplier=2.0),
        "contour": sgd(0.01, 1.0, 1000),
        "grid": times(LaplaceEvent(noise_multiplier=3.0), 5),
    }
    for method, event in routes.items():
        assert accounting.epsilon(event, delta=1e-5).method == method


MIXTURES = [
    both(sgd(0.01, 1.0, 1000), sgd(0.05, 3.0, 200), GaussianEvent(noise_multiplier=20)),
    both(
        sgd(0.02, 1.5, 500),
        times(LaplaceEvent(noise_multiplier=10.0), 2),
        times(RandomizedResponseEvent(epsilon=0.1), 3),
    ),
    both(GaussianEvent(noise_multiplier=5.0), LaplaceEvent(noise_multiplier=10.0)),
]


@pytest.mark.parametrize("event", MIXTURES)
def test_unlike_queries_compose_jointly_and_within_dp_accounting(event):
    """Adding epsilons up would be valid too, and much larger."""
    from privplan import opinions

    found = accounting.epsilon(event, delta=1e-5)
    (peer, *_) = opinions.second_opinions(event, delta=1e-5)
    assert peer.lower <= found.lower <= found.upper <= peer.upper
    assert found.upper - found.lower <= 1e-6 * found.upper
    alone = [accounting.epsilon(part, delta=1e-5 / 3).upper for part in event.events]
    assert found.upper < sum(alone)


def test_the_worse_direction_counts():
    """Mutant: one direction only. At one step the two differ by a closed form."""
    event = sgd(0.3, 2.0, 40)
    found = accounting.epsilon(event, delta=1e-4)
    from privplan.contour.loss import from_phases
    from privplan.events import phases

    ends = [
        solve.epsilon_bracket(from_phases(phases(event), way), 1e-4)
        for way in Direction
    ]
    assert ends[0][1] > ends[1][1] * 1.01
    assert found.upper == max(high for _, high in ends)
    assert found.lower == max(low for low, _ in ends)


def test_counting_one_direction_only_is_caught(monkeypatch):
    """Mutant: the direction of adding stands for both."""
    from privplan.contour import both as directions

    event = sgd(0.3, 2.0, 40)
    right = accounting.epsilon(event, delta=1e-4)
    original = directions.from_phases
    monkeypatch.setattr(
        directions,
        "from_phases",
        lambda found, _, **named: original(found, Direction.ADD, **named),
    )
    wrong = accounting.epsilon(event, delta=1e-4)
    assert wrong.upper < right.lower


# Few or rare participations: (rate, noise, steps, delta, most width, relative)
HARD = [
    (0.3, 0.5, 2, 1e-5, 1e-3),
    (0.5, 5.0, 4, 1e-6, 1e-3),
    (0.9, 0.7, 3, 1e-8, 1e-3),
    (0.1, 1.0, 3, 1e-5, 1e-3),
    (1e-3, 0.5, 10, 1e-6, 1e-3),
    (3e-6, 0.3, 10**6, 1e-10, 1e-6),
    (7.69e-5, 2.11, 259_736, 1.8e-12, 1e-6),
    (0.01, 3.0, 50, 1e-7, 1e-6),
]


@pytest.mark.parametrize(("rate", "noise", "steps", "delta", "width"), HARD)
def test_few_or_rare_participations_are_bracketed_too(rate, noise, steps, delta, width):
    """Where a plain sum would need millions of nodes."""
    found = accounting.epsilon(sgd(rate, noise, steps), delta=delta)
    assert found.method in {"contour", "grid"}
    assert 0 < found.upper - found.lower <= width * found.upper


@pytest.mark.parametrize("row", HARD[:5])
def test_dp_accounting_meets_the_hard_brackets(row):
    """A route of its own: a grid, no transform of ours."""
    from privplan import opinions
    from privplan.events import phases

    rate, noise, steps, delta, _ = row
    event = sgd(rate, noise, steps)
    found = accounting.epsilon(event, delta=delta)
    peer = opinions.pld(phases(event), delta=delta)
    assert peer.lower <= found.upper
    assert found.lower <= peer.upper
    assert found.upper <= peer.upper * (1 + 1e-3)


def test_the_route_of_others_is_named_too(monkeypatch):
    """Where all our routes decline, dp-accounting answers, and it must say so."""
    from privplan.contour import both as directions
    from privplan.errors import CannotCertifyError

    def decline(*_, **__):
        raise CannotCertifyError("not today", hint="ask somebody else")

    monkeypatch.setattr(directions, "epsilon", decline)
    monkeypatch.setattr(directions, "delta", decline)
    event = times(LaplaceEvent(noise_multiplier=3.0), 5)
    assert accounting.epsilon(event, delta=1e-5).method == "PLD by dp-accounting"
    assert accounting.delta(event, epsilon=1.0).method == "PLD by dp-accounting"


def test_what_nothing_can_bracket_still_has_an_upper_end():
    """An answer that is too large is an answer; one that is too small is a lie."""
    found = accounting.epsilon(sgd(0.5, 0.02, 10), delta=1e-5)
    assert found.lower == 0
    assert "Chernoff" in found.method
    # Ten steps cost more than one, which has a closed form.
    assert accounting.epsilon(sgd(0.5, 0.02, 1), delta=1e-5).lower < found.upper
    # As if every record were in every batch: mu^2 / 2 and a little.
    assert found.upper < 1.1 * 0.5 * 10 / 0.02**2


@pytest.mark.parametrize(
    "event",
    [
        sgd(0.01, 0.02, 100),
        sgd(0.01, 1e-9, 1),
        GaussianEvent(noise_multiplier=1e-9),
        sgd(0.5, 1e7, 10),
        times(GaussianEvent(noise_multiplier=1e6), 2**50),
    ],
)
def test_extreme_noise_neither_crashes_nor_warns(event):
    """A calibration walks through such values on its way."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = accounting.epsilon(event, delta=1e-5)
    assert 0 <= found.lower <= found.upper


@settings(max_examples=25, deadline=None)
@given(
    rate=st.floats(0.001, 1.0),
    noise=st.floats(0.5, 30.0),
    steps=st.integers(1, 3000),
    epsilon=st.floats(0.0, 12.0),
)
def test_the_privacy_profile_falls_and_stays_in_range(rate, noise, steps, epsilon):
    """delta is a probability, and never grows with epsilon."""
    event = sgd(rate, noise, steps)
    here = accounting.delta(event, epsilon=epsilon)
    there = accounting.delta(event, epsilon=epsilon + 0.5)
    assert 0 <= here.lower <= here.upper <= 1
    assert there.lower <= here.upper


def test_zero_out_costs_what_removal_costs():
    """Blanking a record shifts every sum by as much as removing it."""
    event = sgd(0.05, 1.0, 100)
    zeroed = accounting.epsilon(event, delta=1e-5, adjacency=Adjacency.ZERO_OUT)
    assert zeroed == accounting.epsilon(event, delta=1e-5)


@pytest.mark.parametrize(
    "event", [sgd(0.1, 1.0, 3), RandomizedResponseEvent(epsilon=0.5)]
)
def test_replace_one_is_refused_where_no_route_is_right(event):
    """Its epsilon is more than twice as large, and not by a known factor."""
    with pytest.raises(PolicyError, match="replace-one"):
        accounting.epsilon(event, delta=1e-5, adjacency=Adjacency.REPLACE_ONE)
    with pytest.raises(PolicyError, match="replace-one"):
        accounting.delta(event, epsilon=1.0, adjacency=Adjacency.REPLACE_ONE)


def test_adding_something_never_makes_it_cheaper():
    """A phase lost in composition would."""
    base = accounting.epsilon(sgd(0.02, 1.0, 500), delta=1e-5)
    for extra in (
        GaussianEvent(noise_multiplier=30.0),
        sgd(0.001, 4.0, 100),
        LaplaceEvent(noise_multiplier=100.0),
        RandomizedResponseEvent(epsilon=0.01),
    ):
        more = accounting.epsilon(both(sgd(0.02, 1.0, 500), extra), delta=1e-5)
        assert more.lower > base.upper


def test_a_rate_of_one_is_a_plain_gaussian():
    """Two spellings of one mechanism must not have two prices."""
    sampled = accounting.epsilon(sgd(1.0, 5.0, 9), delta=1e-5)
    plain = times(GaussianEvent(noise_multiplier=5.0), 9)
    assert sampled == accounting.epsilon(plain, delta=1e-5)


def test_an_event_read_without_noise_has_delta_one():
    """Infinite epsilon and delta 1 are the same statement."""
    from privplan.events import NonPrivateEvent

    assert accounting.delta(NonPrivateEvent(), epsilon=5.0).lower == 1
    assert accounting.epsilon(NonPrivateEvent(), delta=0.5).lower == math.inf


def test_a_record_that_is_hardly_ever_read_costs_nothing_and_is_counted_at_once():
    """1 - (1 - q)^T is at most delta: the outputs differ with no more chance than that.

    Searching among tiny noises there once took minutes and gigabytes.
    """
    rare = dp_sgd(sample_rate=1e-6, noise_multiplier=0.01, steps=100)
    assert accounting.epsilon(rare, delta=3.3e-4).upper == 0.0
    budget = PrivacyBudget(target_epsilon=1.0, target_delta=3.3e-4)
    found = calibration.noise_multiplier(
        lambda z: dp_sgd(sample_rate=1e-6, noise_multiplier=z, steps=100),
        budget=budget,
    )
    assert found == 0.01
    for delta in (0.9e-4, 0.999e-4):
        assert accounting.epsilon(rare, delta=delta).upper > 100
    exactly = 1 - (1 - 0.5) ** 1
    once = dp_sgd(sample_rate=0.5, noise_multiplier=1e-2, steps=1)
    assert accounting.epsilon(once, delta=exactly * (1 + 1e-8)).upper == 0.0
    assert accounting.epsilon(once, delta=exactly * (1 - 1e-6)).upper > 0
