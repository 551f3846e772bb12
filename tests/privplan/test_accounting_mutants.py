"""Mistakes put into the accountant on purpose; some check must catch each of them.

The checks are small copies of what the other tests and a running planner look at: the
table of truths, closed forms, the second opinions, the recount after calibration. A
mutant that no check sees would be a mistake that nobody sees.
"""

import math
from dataclasses import replace
from functools import cache

import pytest
from scipy.stats import norm

from privplan import accounting, calibration, canonical, events, opinions, solve_for
from privplan.batches import dp_sgd
from privplan.budget import Adjacency, PrivacyBudget
from privplan.contour import both, nodes
from privplan.contour.loss import Direction
from privplan.errors import PrivplanError
from privplan.events import GaussianEvent, SelfComposedEvent
from privplan.questions import as_event


def truths():
    """Two rows of the published table, to the digits it has."""
    rows = [
        (4096 / 60000, 4394, 1e-5, 2.380248, 10.0),
        (16384 / 50000, 200, 1e-5, 2.450786, 10.0),
    ]
    return all(
        abs(_epsilon(dp_sgd(sample_rate=q, noise_multiplier=z, steps=n), d) / e - 1)
        < 2e-5
        for q, n, d, z, e in rows
    )


def thirty_digits():
    """One delta known to 18 digits, inside the bracket."""
    run = dp_sgd(sample_rate=128 / 1797, noise_multiplier=6.100607, steps=702)
    found = accounting.delta(run, epsilon=1.0)
    return found.lower <= 0.000100000012018775808 <= found.upper


def closed_form():
    """Nine Gaussian queries under both adjacencies: mu = 3 / noise, and twice that."""
    queries = SelfComposedEvent(event=GaussianEvent(noise_multiplier=6.0), count=9)
    for adjacency, mu in (
        (Adjacency.ADD_OR_REMOVE_ONE, 0.5),
        (Adjacency.REPLACE_ONE, 1.0),
    ):
        e = accounting.epsilon(queries, delta=1e-5, adjacency=adjacency).upper
        truth = norm.cdf(mu / 2 - e / mu) - math.exp(e) * norm.cdf(-mu / 2 - e / mu)
        if abs(truth / 1e-5 - 1) > 1e-6:
            return False
    return True


UNLIKE = as_event(["sgd:0.3,2,40", "gaussian:6,3"])


@cache
def said_of_unlike_phases():
    """No mistake below reaches the other libraries, so they are asked once."""
    return opinions.second_opinions(UNLIKE, delta=1e-4)


def second_opinions():
    """Two other libraries, other methods, on unlike phases."""
    found = accounting.epsilon(UNLIKE, delta=1e-4)
    return opinions.agree(found.lower, found.upper, said_of_unlike_phases())


def recount():
    """A calibrated plan is inside its budget, and a promised delta above the bound."""
    budget = PrivacyBudget(target_epsilon=1.0, target_delta=1e-5)
    try:
        noise = calibration.noise_multiplier(
            lambda z: dp_sgd(sample_rate=0.05, noise_multiplier=z, steps=300),
            budget=budget,
        )
    except PrivplanError:
        return False
    run = dp_sgd(sample_rate=0.05, noise_multiplier=noise, steps=300)
    promised = solve_for.delta(run, epsilon=1.0)
    shown = float(canonical.text_up(_epsilon(run, 1e-5), 6))
    return (
        _epsilon(run, 1e-5) <= min(1.0, shown)
        and promised >= accounting.delta(run, epsilon=1.0).upper
    )


def _epsilon(event, delta):
    return accounting.epsilon(event, delta=delta).upper


def forget_the_count(patch):
    flat = events.phases
    patch.setattr(
        accounting, "phases", lambda e: tuple(replace(p, count=1) for p in flat(e))
    )


def forget_a_phase(patch):
    flat = events.phases
    patch.setattr(accounting, "phases", lambda e: flat(e)[:1])


def add_only(patch):
    original = both.from_phases
    patch.setattr(
        both, "from_phases", lambda found, _, **kw: original(found, Direction.ADD, **kw)
    )


def cut_the_tail_and_its_bound(patch):
    def reach(self, here, epsilon, log_wanted):
        del self, epsilon, log_wanted
        return 1.2 / math.sqrt(here.v), -math.inf

    patch.setattr(nodes.Nodes, "_reach", reach)


def half_the_rate(patch):
    flat = events.phases

    def halved(event):
        return tuple(
            replace(p, event=replace(p.event, sample_rate=p.event.sample_rate / 2))
            if isinstance(p.event, events.PoissonSampledGaussianEvent)
            else p
            for p in flat(event)
        )

    patch.setattr(accounting, "phases", halved)


def single_sensitivity(patch):
    patch.setattr(accounting, "_sensitivity", lambda *_: 1.0)


def round_down(patch):
    patch.setattr(canonical, "round_up", canonical.round_down)


def show_rounded_down(patch):
    patch.setattr(canonical, "text_up", canonical.text_down)


CAUGHT = [
    (forget_the_count, truths),
    (forget_the_count, closed_form),
    (forget_the_count, second_opinions),
    (forget_a_phase, second_opinions),
    (add_only, truths),
    (add_only, second_opinions),
    (cut_the_tail_and_its_bound, thirty_digits),
    (half_the_rate, truths),
    (half_the_rate, second_opinions),
    (single_sensitivity, closed_form),
    (round_down, recount),
    (show_rounded_down, recount),
]


@pytest.mark.parametrize(
    "check", [truths, thirty_digits, closed_form, second_opinions, recount]
)
def test_every_check_holds_without_a_mistake(check):
    """A check that always fails would catch every mutant."""
    assert check()


@pytest.mark.parametrize(("mistake", "check"), CAUGHT)
def test_a_mistake_in_the_accountant_is_caught(mistake, check, monkeypatch):
    mistake(monkeypatch)
    assert not check()
