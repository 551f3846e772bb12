"""How much of a budget the Gaussian query takes: a rule of public facts.

Where noise drowns gradients, class means and second moments are most of what can be
learned; where data are plenty, they are a cheap start. Two settings were measured on
8 x 8 digits (a third of mu^2 left for training at F = 1.9; 92 % at F = 13), and the
rule is the straight line between them in logarithms.

Units: noise multiplier over the query's sensitivity.
Source: our own measurements; mu of Dong, Roth, Su 2022, arXiv:1905.02383.
"""

from __future__ import annotations

import math

from privplan import calibration, canonical, checks, events, risk
from privplan.budget import PrivacyBudget

_LEAST_SHARE, _MOST_SHARE = 0.08, 0.67
_SHARE_SLOPE = 1.135
_MOST_AT = 2.0


def gaussian_share(feasibility: float) -> float:
    """Return the share of mu^2 that the Gaussian query takes; a public rule.

    Two thirds where hardly anything else can be learned (F at most 2), 8 % at F = 13,
    and no less where data are plenty: on letters at n = 60,000 that much makes the
    Gaussian as good as it gets. A straight line in logarithms between two measured
    points.

    Args:
        feasibility: F = n mu / sqrt(trained parameters).

    Example:
        >>> [round(gaussian_share(f), 2) for f in (1.0, 1.9, 13.0, 500.0)]
        [0.67, 0.67, 0.08, 0.08]
    """
    checks.positive(feasibility=feasibility)
    share = _MOST_SHARE * math.pow(_MOST_AT / feasibility, _SHARE_SLOPE)
    return min(max(share, _LEAST_SHARE), _MOST_SHARE)


def gaussian_noise(
    budget: PrivacyBudget, *, feasibility: float, last: bool = False
) -> float:
    """Choose the noise multiplier of the Gaussian query, before anything else is known.

    Args:
        budget: Of the whole plan.
        feasibility: F = n mu / sqrt(trained parameters).
        last: Whether nothing private follows, so that it may take everything.
    """
    if last:
        return calibration.noise_multiplier(
            lambda z: events.GaussianEvent(noise_multiplier=z), budget=budget
        )
    mu = risk.gdp_mu(budget.target_epsilon, budget.target_delta)
    return canonical.round_up(1 / (mu * math.sqrt(gaussian_share(feasibility))), 3)
