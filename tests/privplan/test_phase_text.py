"""Phases as typed: what is read is what was meant, and nothing else is read."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privplan import phase_text
from privplan.errors import ParameterError
from privplan.events import (
    GaussianEvent,
    LaplaceEvent,
    NonPrivateEvent,
    NoOpEvent,
    PoissonSampledGaussianEvent,
    RandomizedResponseEvent,
    SelfComposedEvent,
    phases,
)
from privplan.phase_text import Unknown, parse

READ = {
    "sgd:0.05,1.1,500": SelfComposedEvent(
        event=PoissonSampledGaussianEvent(sample_rate=0.05, noise_multiplier=1.1),
        count=500,
    ),
    "gaussian:20": GaussianEvent(noise_multiplier=20.0),
    " gaussian: 20 , 3 ": SelfComposedEvent(
        event=GaussianEvent(noise_multiplier=20.0), count=3
    ),
    "laplace:8,2": SelfComposedEvent(event=LaplaceEvent(noise_multiplier=8.0), count=2),
    "pure:1e-2": RandomizedResponseEvent(epsilon=0.01),
    "none": NoOpEvent(),
    "synthetic": NoOpEvent(),
    "raw": NonPrivateEvent(),
}


@pytest.mark.parametrize("text", READ)
def test_a_phase_reads_as_the_event_it_names(text):
    assert parse(text).event() == READ[text]


@settings(max_examples=30, deadline=None)
@given(
    rate=st.floats(1e-9, 1.0, exclude_max=True),
    noise=st.floats(1e-6, 1e6),
    steps=st.integers(1, 10**9),
)
def test_no_digit_is_lost_between_text_and_event(rate, noise, steps):
    """A rate read to six digits would be accounted as another rate."""
    (only,) = phases(parse(f"sgd:{rate!r},{noise!r},{steps}").event())
    assert only.count == steps
    assert only.event == PoissonSampledGaussianEvent(
        sample_rate=rate, noise_multiplier=noise
    )


WRONG = [
    "", ":", "sgd", "sgd:", "sgd:0.05", "sgd:0.05,1.1", "sgd:0.05,1.1,500,1",
    "sgd:0,1,5", "sgd:1.1,1,5", "sgd:nan,1,5", "sgd:0.1,inf,5", "sgd:0.1,0,5",
    "sgd:0.1,-1,5", "sgd:0.1,1,0", "sgd:0.1,1,-5", "sgd:0.1,1,5.0", "sgd:0.1,1,1e3",
    "sgd:0.1,1,²", "sgd:0.1,,5", "sgd:0.1;1;5", "sgd:0.1,1,99999999999999999999",
    "gaussian", "gaussian:", "gaussian:nan", "gaussian:0", "gaussian:x",
    "gaussian:1e999", "gaussian:1,2,3", "laplace:-1", "pure:0", "pure:nan",
    "pure:inf", "none:1", "raw:1", "synthetic:", "Gaussian:1", "__import__:1",
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_phase_is_refused_by_its_own_words(text):
    with pytest.raises(ParameterError) as refused:
        parse(text)
    assert f"phase {text!r}" in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    ("text", "unknown", "filled"),
    [
        ("sgd:?,1.1,500", Unknown.SAMPLE_RATE, "sgd:0.25,1.1,500"),
        ("sgd:0.05,?,500", Unknown.NOISE_MULTIPLIER, "sgd:0.05,0.25,500"),
        ("gaussian:?", Unknown.NOISE_MULTIPLIER, "gaussian:0.25,1"),
        ("laplace:?,7", Unknown.NOISE_MULTIPLIER, "laplace:0.25,7"),
    ],
)
def test_the_unknown_is_found_in_its_place_and_can_be_filled(text, unknown, filled):
    read = parse(text)
    assert read.unknown is unknown
    assert read.filled(0.25).text == filled
    assert read.filled(0.25).event() == parse(filled).event()
    with pytest.raises(ParameterError, match="unknown"):
        read.event()


def test_a_count_may_be_unknown_too():
    assert parse("pure:0.1,?").filled(12).event() == parse("pure:0.1,12").event()


@pytest.mark.parametrize("text", ["sgd:?,?,5", "sgd:?,?,?", "pure:?", "pure:?,3"])
def test_one_phase_asks_for_one_number_and_never_for_a_pure_epsilon(text):
    with pytest.raises(ParameterError, match="asks for"):
        parse(text)


def test_a_question_has_one_unknown():
    """Two unknowns have many answers, and none has none."""
    noise = Unknown.NOISE_MULTIPLIER
    assert phase_text.the_unknown([None, noise, None]) == (1, noise)
    with pytest.raises(ParameterError, match="2 phases"):
        phase_text.the_unknown([noise, None, noise])
    with pytest.raises(ParameterError, match="nothing to solve"):
        phase_text.the_unknown([None])
