"""One factor per record: it may shorten a gradient, and never lets it exceed C."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffusion.clipping import Clipping
from privplan.errors import ParameterError

BOUNDS = st.floats(min_value=1e-6, max_value=1e6)
NORMS = st.floats(min_value=0, max_value=1e300)
KINDS = st.sampled_from(["fixed", "normalised"])


@given(bound=BOUNDS, norm=NORMS, kind=KINDS)
def test_no_clipped_gradient_is_longer_than_the_bound(bound, norm, kind):
    """One factor too large, and the noise no longer covers that record."""
    clipping = Clipping(max_grad_norm=bound, kind=kind)
    factor = clipping.factors(torch.tensor([norm], dtype=torch.float64)).item()
    # Two float64 roundings, one in the quotient and one in this product.
    assert factor * norm <= bound * (1 + 4e-16)
    assert factor >= 0


@given(bound=BOUNDS, share=st.floats(min_value=0, max_value=0.999999))
def test_fixed_clipping_leaves_short_gradients_alone(bound, share):
    """Shrinking what is already short would waste signal for no privacy."""
    clipping = Clipping(max_grad_norm=bound)
    norms = torch.tensor([bound * share], dtype=torch.float64)
    assert clipping.factors(norms).item() == 1.0


@given(bound=BOUNDS, norm=st.floats(min_value=1.0, max_value=1e6))
def test_normalised_clipping_gives_every_gradient_nearly_the_same_length(bound, norm):
    """That is what it is for: no bound to tune, every record heard alike."""
    clipping = Clipping(max_grad_norm=bound, kind="normalised")
    factor = clipping.factors(torch.tensor([norm], dtype=torch.float64)).item()
    # gamma is 0.01, so a norm of 1 keeps 1 / 1.01 of the bound.
    assert 0.99 * bound <= factor * norm < bound


@pytest.mark.parametrize("kind", ["fixed", "normalised"])
@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_gets_the_factor_zero(kind, norm):
    """NaN compares false with everything, and would pass a careless minimum."""
    clipping = Clipping(max_grad_norm=1.0, kind=kind)
    assert clipping.factors(torch.tensor([norm, 1.0]))[0].item() == 0.0


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan, math.inf])
def test_a_bound_that_bounds_nothing_is_refused(bound):
    """An infinite or NaN bound would switch clipping off without a word."""
    with pytest.raises(ParameterError, match="max_grad_norm"):
        Clipping(max_grad_norm=bound)


def test_an_unknown_kind_is_refused():
    """A misspelt kind must not fall through to a default."""
    wrong = Clipping(max_grad_norm=1.0)
    # Around the type checks of the tests, as an untyped caller would come.
    object.__setattr__(wrong, "kind", "fixd")
    with pytest.raises(ParameterError, match="kind"):
        wrong.__post_init__()
