"""Second opinions: who is asked, who is not, and what it takes to agree.

What these libraries get wrong is pinned in `test_peers_defects.py`.
"""

import pytest

from privplan import accounting, opinions
from privplan.events import (
    GaussianEvent,
    LaplaceEvent,
    NonPrivateEvent,
    PoissonSampledGaussianEvent,
    RandomizedResponseEvent,
    SelfComposedEvent,
    phases,
)
from privplan.opinions import Opinion


def sgd(rate, noise, steps):
    step = PoissonSampledGaussianEvent(sample_rate=rate, noise_multiplier=noise)
    return SelfComposedEvent(event=step, count=steps)


@pytest.mark.parametrize(
    "event",
    [
        GaussianEvent(noise_multiplier=2.0),
        PoissonSampledGaussianEvent(sample_rate=0.1, noise_multiplier=1.0),
        LaplaceEvent(noise_multiplier=3.0),
        RandomizedResponseEvent(epsilon=0.4),
    ],
    ids=lambda event: type(event).__name__,
)
def test_composing_four_times_at_once_costs_what_four_times_one_costs(event):
    """A count that any branch forgets makes epsilon too small, and raises nothing."""
    at_once = SelfComposedEvent(event=event, count=4)
    found = opinions.pld(phases(at_once), delta=1e-5)
    ours = accounting.epsilon(at_once, delta=1e-5)
    single = opinions.pld(phases(event), delta=1e-5)
    assert found.lower <= ours.upper * (1 + 1e-9)
    assert ours.lower <= found.upper
    assert found.lower > 1.2 * single.upper


def test_a_pure_query_costs_its_epsilon_in_both_vocabularies():
    """The translation of epsilon into the library's noise parameter."""
    found = opinions.pld(phases(RandomizedResponseEvent(epsilon=0.7)), delta=1e-12)
    # The grid rounds to a step of 1e-4.
    assert found.upper == pytest.approx(0.7, abs=2e-4)


@pytest.mark.parametrize(
    ("event", "delta", "absent"),
    [
        (sgd(1e-3, 1.4, 10**6), 1e-9, {"dp-accounting", "prv-accountant"}),
        (sgd(1e-2, 1.0, 30_000), 1e-6, {"prv-accountant"}),
        (LaplaceEvent(noise_multiplier=2.0), 1e-6, {"prv-accountant"}),
        (sgd(1e-2, 0.02, 10), 1e-6, {"dp-accounting", "prv-accountant"}),
        (NonPrivateEvent(), 1e-6, {"dp-accounting", "prv-accountant"}),
        (sgd(1e-2, 1.0, 1000), 1e-6, set()),
    ],
)
def test_who_is_not_asked_is_named_with_a_reason(event, delta, absent):
    """Silence must not look like agreement."""
    reasons = opinions.left_out(event, delta=delta)
    assert set(reasons) == absent
    assert all(len(reason) > 10 for reason in reasons.values())


def test_rdp_says_so_where_it_cannot_count():
    """An unsupported event must not end a plan."""
    found = opinions.rdp(RandomizedResponseEvent(epsilon=0.5), delta=1e-5)
    assert found.upper == float("inf")
    assert "cannot" in found.method


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "delta"),
    [(0.2, 1.2, 100, 1e-4), (0.0683, 16.92, 4394, 1e-5), (0.01, 0.8, 2000, 1e-6)],
)
def test_two_libraries_of_other_method_meet_our_bracket(rate, noise, steps, delta):
    event = sgd(rate, noise, steps)
    ours = accounting.epsilon(event, delta=delta)
    found = opinions.second_opinions(event, delta=delta)
    assert {o.name for o in found} == {"dp-accounting", "prv-accountant"}
    assert opinions.agree(ours.lower, ours.upper, found)


def test_an_epsilon_that_forgot_half_the_steps_is_contradicted():
    """The mutant that a second opinion is there for."""
    delta = 1e-5
    wrong = accounting.epsilon(sgd(0.1, 1.5, 200), delta=delta)
    found = opinions.second_opinions(sgd(0.1, 1.5, 400), delta=delta)
    assert not opinions.agree(wrong.lower, wrong.upper, found)


def test_where_both_libraries_are_no_use_rdp_still_answers():
    """A long run at a small delta drowns loss distributions in rounding noise."""
    event = sgd(1e-3, 1.390132, 10**6)
    (only,) = opinions.second_opinions(event, delta=1e-9)
    ours = accounting.epsilon(event, delta=1e-9)
    assert "RDP" in only.method
    assert ours.upper <= only.upper
    assert opinions.agree(ours.lower, ours.upper, (only,))


def test_what_was_read_without_noise_has_no_second_opinion():
    assert opinions.second_opinions(NonPrivateEvent(), delta=1e-5) == ()


def test_opinions_that_do_not_meet_each_other_do_not_agree():
    def said(lower, upper):
        return Opinion(name="x", version="1", method="y", lower=lower, upper=upper)

    assert opinions.agree(1.0, 1.0, (said(0.9, 1.1), said(0.95, 1.0)))
    assert not opinions.agree(1.0, 1.0, (said(0.9, 1.1), said(1.05, 1.2)))
    assert not opinions.agree(1.0, 1.0, (said(float("nan"), float("nan")),))


def test_rdp_is_above_the_truth_and_not_by_much():
    event = sgd(0.1, 2.0, 300)
    truth = accounting.epsilon(event, delta=1e-5)
    loose = opinions.rdp(event, delta=1e-5)
    assert truth.upper <= loose.upper <= 1.25 * truth.upper


def test_nothing_that_a_library_prints_or_logs_escapes(capfd):
    opinions.second_opinions(sgd(0.2, 0.7, 60), delta=1e-5)
    opinions.rdp(GaussianEvent(noise_multiplier=2.0), delta=1e-5)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
