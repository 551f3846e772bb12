"""Events: values that flatten, write and read without losing a count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privplan import events
from privplan.errors import DocumentError, ParameterError
from privplan.events import (
    ComposedEvent,
    GaussianEvent,
    LaplaceEvent,
    NonPrivateEvent,
    NoOpEvent,
    PoissonSampledDiscreteGaussianEvent,
    PoissonSampledGaussianEvent,
    RandomizedResponseEvent,
    SelfComposedEvent,
)

positive = st.floats(1e-6, 1e6)
leaves = st.one_of(
    st.builds(GaussianEvent, noise_multiplier=positive),
    st.builds(
        PoissonSampledGaussianEvent,
        sample_rate=st.floats(1e-9, 1.0),
        noise_multiplier=positive,
    ),
    st.builds(
        PoissonSampledDiscreteGaussianEvent,
        sample_rate=st.floats(1e-9, 1.0),
        noise_multiplier=positive,
    ),
    st.builds(LaplaceEvent, noise_multiplier=positive),
    st.builds(RandomizedResponseEvent, epsilon=positive),
    st.just(NoOpEvent()),
    st.just(NonPrivateEvent()),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(SelfComposedEvent, event=inner, count=st.integers(1, 1000)),
        st.builds(ComposedEvent, events=st.lists(inner, max_size=4).map(tuple)),
    ),
    max_leaves=12,
)


def leaf_count(event):
    """Count the charged leaves by walking the tree, each as often as it occurs."""
    match event:
        case NoOpEvent():
            return 0
        case SelfComposedEvent():
            return event.count * leaf_count(event.event)
        case ComposedEvent():
            return sum(leaf_count(part) for part in event.events)
        case _:
            return 1


@given(trees)
def test_flattening_loses_no_leaf(event):
    """A count lost here is spending that no accountant can see."""
    found = events.phases(event)
    assert sum(phase.count for phase in found) == leaf_count(event)
    assert len({phase.event for phase in found}) == len(found)


@given(st.lists(leaves, max_size=6), st.randoms())
def test_the_order_of_events_does_not_matter(parts, random):
    """Two ledgers with the same events must have the same epsilon."""
    shuffled = list(parts)
    random.shuffle(shuffled)
    one, two = ComposedEvent(events=tuple(parts)), ComposedEvent(events=tuple(shuffled))
    assert events.phases(one) == events.phases(two)


@given(trees)
def test_what_is_written_reads_back_equal(event):
    """A ledger that is re-read must mean what it meant."""
    assert events.from_json(events.to_json(event)) == event


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize(
    "make",
    [
        lambda x: GaussianEvent(noise_multiplier=x),
        lambda x: LaplaceEvent(noise_multiplier=x),
        lambda x: RandomizedResponseEvent(epsilon=x),
        lambda x: PoissonSampledGaussianEvent(sample_rate=0.1, noise_multiplier=x),
        lambda x: PoissonSampledGaussianEvent(sample_rate=x, noise_multiplier=1.0),
    ],
)
def test_a_mechanism_without_meaning_cannot_be_built(make, bad):
    """NaN passes every comparison that is written the wrong way round."""
    with pytest.raises(ParameterError):
        make(bad)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"type": "os.system"},
        {"type": "gaussian"},
        {"type": "gaussian", "noise_multiplier": 2.0},
        {"type": "gaussian", "noise_multiplier": "2.0", "sensitivity": "1.0"},
        {"type": "laplace", "noise_multiplier": None},
        {"type": "randomized-response", "epsilon": True},
        {"type": "self-composed", "event": {"type": "no-op"}, "count": True},
        {"type": "self-composed", "event": {"type": "no-op"}, "count": "3"},
        {"type": "composed", "events": {"type": "no-op"}},
    ],
)
def test_a_malformed_event_is_refused(value):
    """An event from a file is data, never a name to look up."""
    with pytest.raises(DocumentError):
        events.from_json(value)


@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "0x10", " 1", "1_0", ""])
def test_a_number_that_is_none_is_refused(text):
    """float() reads all but two of these."""
    with pytest.raises(ParameterError):
        events.from_json({"type": "gaussian", "noise_multiplier": text})


def test_a_tree_too_deep_to_be_honest_is_refused():
    """A parser that recurses for ever is a way to stop a verifier."""
    value = {"type": "no-op"}
    for _ in range(40):
        value = {"type": "composed", "events": [value]}
    with pytest.raises(DocumentError, match="deep"):
        events.from_json(value)


def test_sampling_at_rate_one_is_the_plain_gaussian():
    """One mechanism, one phase."""
    sampled = PoissonSampledGaussianEvent(sample_rate=1.0, noise_multiplier=3.0)
    plain = GaussianEvent(noise_multiplier=3.0)
    (phase,) = events.phases(ComposedEvent(events=(sampled, plain)))
    assert phase.event == plain
    assert phase.count == 2
