"""Budget lines: sensitivities by brute force, prices alone and on top."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privplan import accounting
from privplan.budget_lines import (
    CandidateChoice,
    ClippingQuantile,
    marginal,
    total_event,
)
from privplan.errors import ParameterError
from privplan.events import (
    ComposedEvent,
    GaussianEvent,
    NoOpEvent,
    PoissonSampledGaussianEvent,
    SelfComposedEvent,
)
from privplan.query_lines import (
    CandidateScores,
    LabelHistogram,
    MeanQuery,
    RecordCount,
    SecondMoments,
    pulled_in,
)

VECTORS = [v for v in itertools.product((-3.0, -0.5, 0.0, 1.0, 2.0), repeat=2)] + [
    (1e300, 1e300),
    (math.nan, 0.0),
    (math.inf, 1.0),
]
LABEL_SETS = [
    labels
    for size in range(4)
    for labels in itertools.permutations((0, 1, 2, 3, 9), size)
]
GAUSSIAN_LINES = [
    (LabelHistogram(noise_multiplier=5.0), LABEL_SETS, {"classes": 4}, 1.0),
    (LabelHistogram(noise_multiplier=5.0, votes=3), LABEL_SETS, {"classes": 4}, 3**0.5),
    (MeanQuery(noise_multiplier=5.0, radius=1.5), VECTORS, {}, 1.0),
    (MeanQuery(noise_multiplier=5.0, radius=9.0, count_share=0.5), VECTORS, {}, 1.0),
    (SecondMoments(noise_multiplier=5.0, radius=2.0), VECTORS, {}, 1.0),
    (
        CandidateScores(noise_multiplier=5.0, candidates=2),
        [*VECTORS, (1.0,)],
        {},
        math.sqrt(2),
    ),
    (
        SecondMoments(noise_multiplier=5.0, shares=(0.1, 0.2, 0.7)),
        VECTORS,
        {},
        1.0,
    ),
]


def released(line, records, named):
    """What a line releases, but for its noise: the sum of rows."""
    return np.sum([line.row(record, **named) for record in records], axis=0)


@pytest.mark.parametrize(("line", "records", "named", "sensitivity"), GAUSSIAN_LINES)
def test_no_neighbour_moves_a_release_farther_than_its_sensitivity(
    line, records, named, sensitivity
):
    """Every record of a small set added to every pair of others: an honest maximum."""
    worst = 0.0
    rng = np.random.default_rng(0)
    for record in records:
        for _ in range(5):
            others = [records[i] for i in rng.integers(0, len(records), 2)]
            change = released(line, [*others, record], named) - released(
                line, others, named
            )
            worst = max(worst, float(np.linalg.norm(change)))
    # Reached, up to float rounding; a radius beyond all vectors is not.
    assert worst <= sensitivity * (1 + 1e-12)
    if getattr(line, "radius", 0.0) < 3:
        assert worst == pytest.approx(sensitivity, rel=1e-9)


@given(
    vector=st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=6),
    radius=st.floats(1e-3, 1e3),
)
def test_whatever_a_record_holds_it_stays_within_the_unit_ball(vector, radius):
    """An overflow that became infinity would be one record's fingerprint."""
    unit = pulled_in(vector, radius)
    assert unit is None or math.hypot(*unit) <= 1 + 1e-12
    finite = all(math.isfinite(x) for x in vector)
    assert finite or unit is None
    for line in (
        MeanQuery(noise_multiplier=1.0, radius=radius),
        SecondMoments(noise_multiplier=1.0, radius=radius),
    ):
        row = line.row(vector)
        assert math.hypot(*row) <= 1 + 1e-12
        assert len(row) == len(line.row([0.0] * len(vector)))


def test_noise_in_the_units_of_the_release_is_noise_over_the_scale_of_the_row():
    """The standard deviations that a person reads, from rows of known records."""
    line = MeanQuery(noise_multiplier=7.0, radius=5.0, count_share=0.3)
    small = line.row([0.25])  # inside the radius: the row is linear in it
    assert line.noise_std == pytest.approx(7.0 / (small[0] / 0.25), rel=1e-12)
    assert line.count_noise_std == pytest.approx(7.0 / small[1], rel=1e-12)
    votes = LabelHistogram(noise_multiplier=7.0, votes=4)
    longest = math.hypot(*votes.row(range(9), classes=9))
    assert votes.noise_std == pytest.approx(7.0 * longest, rel=1e-12)
    assert RecordCount(noise_multiplier=7.0).row() == (1.0,)
    assert RecordCount(noise_multiplier=7.0).noise_std == 7.0


def test_second_moments_of_rows_are_second_moments():
    """The upper triangle with its weights gives the matrix back."""
    line = SecondMoments(noise_multiplier=1.0, radius=10.0)
    vectors = np.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]])
    total = released(line, vectors.tolist(), {})
    moments = (vectors / 10).T @ (vectors / 10)
    upper = np.triu_indices(3)
    weights = np.where(upper[0] == upper[1], 1.0, math.sqrt(2))
    expected = math.sqrt(0.45) * weights * moments[upper]
    np.testing.assert_allclose(total[4:], expected, rtol=1e-12)
    np.testing.assert_allclose(total[3], 2 * math.sqrt(0.05), rtol=1e-12)


@pytest.mark.parametrize(
    "line",
    [
        LabelHistogram(noise_multiplier=50.0),
        RecordCount(noise_multiplier=100.0),
        MeanQuery(noise_multiplier=20.0),
        SecondMoments(noise_multiplier=2.0),
        CandidateScores(noise_multiplier=20.0, candidates=8),
        CandidateChoice(epsilon=0.05, candidates=8),
    ],
    ids=lambda line: line.name,
)
def test_every_line_says_what_it_releases_and_costs_as_often_as_it_asks(line):
    """One interface for plans, reports and the trainer."""
    assert line.name
    assert len(line.releases) > 30
    assert not line.releases.endswith(".")
    again = replace(line, count=3)
    many = accounting.epsilon(total_event([again]), delta=1e-6)
    thrice = accounting.epsilon(total_event([line] * 3), delta=1e-6)
    assert many == thrice
    assert many.upper > accounting.epsilon(total_event([line]), delta=1e-6).upper


SGD = SelfComposedEvent(
    event=PoissonSampledGaussianEvent(sample_rate=0.2, noise_multiplier=8.3),
    count=200,
)


def test_a_line_on_top_of_training_costs_a_fraction_of_itself_alone():
    """An honest pick of the best checkpoint is nearly free; nobody has to cheat."""
    scores = CandidateScores(noise_multiplier=50.0, candidates=8)
    pick = CandidateChoice(epsilon=0.073, candidates=8)
    (noisy,) = marginal([scores], SGD, delta=1e-6)
    (pure,) = marginal([pick], SGD, delta=1e-6)
    assert noisy.alone == pytest.approx(pure.alone, rel=0.1)
    assert 0 < noisy.on_top < 0.06 * noisy.alone
    # A pure query is counted at its worst, which is much worse in company.
    assert 3 * noisy.on_top < pure.on_top < 0.5 * pure.alone


def test_what_a_line_adds_is_what_dropping_it_gives_back():
    """Each difference recomputed from whole events, built by hand."""
    lines = [
        LabelHistogram(noise_multiplier=10.0, count=2),
        MeanQuery(noise_multiplier=5.0),
        CandidateChoice(epsilon=0.3, candidates=4),
    ]
    costs = marginal(lines, SGD, delta=1e-6)

    def epsilon(*chosen):
        parts = [SelfComposedEvent(event=x.event, count=x.count) for x in chosen]
        whole = ComposedEvent(events=(SGD, *parts))
        return accounting.epsilon(whole, delta=1e-6).upper

    labels, mean, pick = lines
    total = epsilon(*lines)
    for cost, others in zip(
        costs, [(mean, pick), (labels, pick), (labels, mean)], strict=True
    ):
        assert cost.on_top == pytest.approx(total - epsilon(*others), abs=1e-12)
        assert 0 < cost.on_top < cost.alone
    assert [cost.name for cost in costs] == ["labels", "mean", "select"]
    assert epsilon() + sum(cost.alone for cost in costs) > total


def test_a_line_alone_costs_alone_what_it_adds_to_nothing():
    (cost,) = marginal([RecordCount(noise_multiplier=9.0)], delta=1e-6)
    assert cost.alone == cost.on_top
    assert marginal([], NoOpEvent(), delta=1e-6) == ()


@pytest.mark.parametrize("q", [0.05, 1.0])
def test_an_adaptive_norm_costs_the_step_nothing_and_the_gradients_a_little(q):
    """The joint query of one batch, against its two halves as separate events."""
    quantile, step = ClippingQuantile(votes_noise_std=4.0), 1.5
    gradients = quantile.gradient_noise_multiplier(step)
    assert gradients > step
    assert quantile.step_noise_multiplier(gradients) == pytest.approx(step, rel=1e-12)
    if q == 1.0:
        # Without sampling, two Gaussian queries compose to the joint one exactly.
        halves = ComposedEvent(
            events=(
                GaussianEvent(noise_multiplier=gradients),
                GaussianEvent(noise_multiplier=2 * 4.0),  # sensitivity 1/2
            )
        )
        joint = accounting.epsilon(GaussianEvent(noise_multiplier=step), delta=1e-5)
        apart = accounting.epsilon(halves, delta=1e-5)
        assert apart.upper == pytest.approx(joint.upper, rel=1e-9)
    else:
        # With sampling, one batch for both is not two batches; it costs more.
        def sgd(noise):
            return PoissonSampledGaussianEvent(sample_rate=q, noise_multiplier=noise)

        joint = accounting.epsilon(sgd(step), delta=1e-5)
        apart = accounting.epsilon(
            ComposedEvent(events=(sgd(gradients), sgd(8.0))), delta=1e-5
        )
        assert apart.upper < joint.lower


def test_votes_of_plus_and_minus_one_half_move_by_one_half():
    """Counting 1 and 0 instead would double the sensitivity."""
    steps = []
    for batch in itertools.product((0, 1), repeat=3):
        for new in (0, 1):
            steps.append(
                sum(b - 0.5 for b in (*batch, new)) - sum(b - 0.5 for b in batch)
            )
    assert {abs(step) for step in steps} == {0.5}


@pytest.mark.parametrize("noise", [3.0, 3.1, 1e9])
def test_votes_that_cost_more_than_the_step_are_refused(noise):
    """The square root of a negative number, or a step that claims too little."""
    with pytest.raises(ParameterError, match=r"votes with noise 1\.5 cost"):
        ClippingQuantile(votes_noise_std=1.5).gradient_noise_multiplier(noise)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_lines_without_meaning_cannot_be_built(bad):
    for make in (
        lambda x: LabelHistogram(noise_multiplier=x),
        lambda x: RecordCount(noise_multiplier=x),
        lambda x: MeanQuery(noise_multiplier=1.0, radius=x),
        lambda x: MeanQuery(noise_multiplier=1.0, count_share=x),
        lambda x: SecondMoments(noise_multiplier=1.0, radius=x),
        lambda x: SecondMoments(noise_multiplier=1.0, shares=(x, 0.5, 0.5)),
        lambda x: CandidateChoice(epsilon=x, candidates=2),
        lambda x: ClippingQuantile(votes_noise_std=x),
        lambda x: ClippingQuantile(votes_noise_std=1).gradient_noise_multiplier(x),
    ):
        with pytest.raises(ParameterError):
            make(bad)
    for make in (LabelHistogram, RecordCount, MeanQuery):
        with pytest.raises(ParameterError):
            make(noise_multiplier=1.0, count=0)
    with pytest.raises(ParameterError, match="add up"):
        SecondMoments(noise_multiplier=1.0, shares=(0.5, 0.5, 0.5))
