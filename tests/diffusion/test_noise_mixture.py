"""A mixture of laws gives each interval its share, and is the base law inside."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffusion.noise_levels import LogNormal, LogUniform, VpUniform
from diffusion.noise_mixture import Mixture, three_parts
from privplan.errors import ParameterError

CUTS, SHARES = (0.1, 2.0), (0.05, 0.75, 0.2)
BASES = [LogNormal(), LogUniform(), VpUniform()]


def law(base=None):
    return three_parts(0.01, 50.0, cuts=CUTS, shares=SHARES, base=base)


@pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)
def test_every_part_gets_its_share_of_the_draws(base):
    """40000 draws: five standard errors of a share are at most 0.011."""
    sigma = law(base).sample(40_000, generator=torch.Generator().manual_seed(0))
    low = (sigma < CUTS[0]).double().mean().item()
    high = (sigma >= CUTS[1]).double().mean().item()
    assert (low, high) == (
        pytest.approx(0.05, abs=0.011),
        pytest.approx(0.2, abs=0.011),
    )


@pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)
def test_inside_a_part_the_law_is_the_base_law(base):
    """1e-9: warp and its inverse each lose some digits of float64."""
    sigma = torch.linspace(0.11, 1.99, 50, dtype=torch.float64)
    middle = law(base).restricted(((0.1, 2.0),))
    alone = type(base)(intervals=((0.1, 2.0),))
    torch.testing.assert_close(middle.cdf(sigma), alone.cdf(sigma), rtol=0, atol=1e-9)


@given(st.floats(0.0, 1.0))
def test_the_quantile_undoes_the_distribution_function(probability):
    """1e-9: as above."""
    found = law()
    at = torch.tensor([probability], dtype=torch.float64)
    back = found.cdf(found.quantile(at))
    torch.testing.assert_close(back, at, rtol=0, atol=1e-9)


def test_restricting_keeps_the_odds_between_what_is_left():
    """A stage that leaves out the high part must not change low against middle."""
    left = law().restricted(((0.01, 2.0),))
    at = torch.tensor([CUTS[0]], dtype=torch.float64)
    assert left.cdf(at).item() == pytest.approx(0.05 / 0.8, rel=1e-9)
    assert left.sigma_max == 2.0


def test_equal_odds_are_the_base_law_itself():
    base = LogUniform(intervals=((0.01, 1.0),))
    same = Mixture(
        intervals=base.intervals, base=base, cuts=(0.01, 0.1, 1.0), shares=(3.0, 3.0)
    )
    at = torch.tensor([0.02, 0.5], dtype=torch.float64)
    torch.testing.assert_close(same.cdf(at), base.cdf(at), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("cuts", "shares"),
    [
        ((2.0, 0.1), SHARES),
        (CUTS, (0.5, 0.0, 0.5)),
        (CUTS, (0.5, float("nan"), 0.5)),
        ((0.001, 2.0), SHARES),
    ],
)
def test_a_mixture_that_makes_no_sense_is_refused(cuts, shares):
    with pytest.raises(ParameterError, match=r"share|cuts"):
        three_parts(0.01, 50.0, cuts=cuts, shares=shares)


def test_every_part_needs_a_share():
    """With one too few, a part would silently get nothing."""
    with pytest.raises(ParameterError, match="2 shares for 3 parts"):
        Mixture(
            intervals=((0.01, 50.0),),
            base=LogNormal(),
            cuts=(0.01, *CUTS, 50.0),
            shares=(0.5, 0.5),
        )


def test_cuts_that_do_not_cover_the_intervals_are_refused():
    with pytest.raises(ParameterError, match="cover"):
        Mixture(
            intervals=((0.01, 80.0),), base=LogNormal(), cuts=(0.01, 1.0), shares=(1.0,)
        )


def test_a_part_where_the_base_law_has_nothing_is_refused():
    """Its draws would all fall on one end, or be NaN."""
    with pytest.raises(ParameterError, match="no probability"):
        three_parts(0.01, 1e30, cuts=(1.0, 1e29), shares=SHARES)
