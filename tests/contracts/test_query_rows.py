"""The query that training asks is the query that the budget prices."""

import math

import pytest
import torch

from diffusion.gaussian_query import QueryConfig, query
from privplan.query_lines import SecondMoments

SHARES = (0.5, 0.05, 0.45)


@pytest.mark.parametrize("scale", [0.2, 1.0, 40.0])
def test_a_record_adds_to_the_gaussian_prior_what_its_budget_line_says(scale):
    """A row longer than 1, or another one, would void the line's sensitivity."""
    config = QueryConfig(
        channels=1, height=2, width=2, classes=1, noise_multiplier=1.5, shares=SHARES
    )
    line = SecondMoments(
        noise_multiplier=1.5,
        radius=config.radius * math.sqrt(config.size),
        shares=SHARES,
    )
    images = scale * torch.tensor([[[[0.3, -1.0], [0.7, 0.9]]]])
    asked = query(images, torch.tensor([0]), config)
    row = line.row(images.flatten().tolist())
    # Images are float32; the query adds up in float64.
    assert asked.tolist() == pytest.approx(row, rel=1e-6)


def test_a_record_that_is_not_finite_adds_nothing_in_either():
    config = QueryConfig(
        channels=1, height=1, width=2, classes=1, noise_multiplier=1.5, shares=SHARES
    )
    line = SecondMoments(noise_multiplier=1.5, radius=1.0, shares=SHARES)
    images = torch.tensor([[[[math.nan, 0.0]]]])
    asked = query(images, torch.tensor([0]), config)
    assert tuple(asked.tolist()) == line.row([math.nan, 0.0])
