"""What an epsilon means: how well anybody can tell whether a record was used.

An attacker sees everything released and guesses "in" or "out" for one record. With a
false positive rate f (says "in" though it was out), the true positive rate is at most
1 - T(f), where T is the trade-off curve (`tradeoff`): whatever the attacker knows or
computes. All bounds use certified upper ends for delta, in the worse direction.

Source: Wasserman & Zhou 2010, arXiv:0811.2501; Dong, Roth, Su 2022, arXiv:1905.02383,
proposition 2.12; Yeom et al. 2018, arXiv:1709.01604 (advantage).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from privplan import accounting, checks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from privplan.events import Event
    from privplan.profile import Reals


def gdp_mu(epsilon: float, delta: float) -> float:
    """Return the mu of the Gaussian mechanism that has exactly this epsilon and delta.

    A run with this (epsilon, delta) need not be mu-GDP at other deltas.

    Raises:
        ParameterError: `epsilon` is negative, or `delta` not between 0 and 1.

    Example:
        >>> round(gdp_mu(1.0, 1e-5), 6)
        0.268051
    """
    checks.non_negative(epsilon=epsilon)
    checks.probability(delta=delta)
    from privplan.contour import closed  # noqa: PLC0415 - loads numpy and scipy

    return closed.gaussian_mu(epsilon, delta)


def gdp_delta(mu: float, epsilon: float) -> float:
    """Return delta(eps) of a mu-GDP mechanism, rounded up.

    Raises:
        ParameterError: `mu` is not above 0, or `epsilon` is negative.

    Source:
        Dong, Roth, Su 2022, corollary 2.13.

    Example:
        >>> round(gdp_delta(1.0, 1.0), 6)
        0.126937
    """
    checks.positive(mu=mu)
    checks.non_negative(epsilon=epsilon)
    from privplan.contour import closed  # noqa: PLC0415 - loads numpy and scipy

    value, slack = closed.gaussian(mu, epsilon)
    return min(1.0, max(0.0, value + slack))


def gdp_epsilon(mu: float, delta: float) -> float:
    """Return epsilon(delta) of a mu-GDP mechanism, rounded up.

    Raises:
        ParameterError: `mu` is not above 0, or `delta` not between 0 and 1.

    Example:
        >>> round(gdp_epsilon(1.0, 0.126937), 4)
        1.0
    """
    checks.positive(mu=mu)
    from privplan.events import GaussianEvent  # noqa: PLC0415 - only here

    query = GaussianEvent(noise_multiplier=1 / (mu * (1 + 1e-12)))
    return accounting.epsilon(query, delta=delta).upper


def advantage(event: Event) -> float:
    """Bound the membership advantage: the most that TPR - FPR can be.

    It is delta at epsilon 0, the total variation distance of the two worlds.

    Raises:
        ParameterError: The event tree is malformed.

    Example:
        >>> from privplan.events import GaussianEvent
        >>> round(advantage(GaussianEvent(noise_multiplier=2.0)), 6)
        0.197413
    """
    return accounting.delta(event, epsilon=0.0).upper


def true_positive_rate(event: Event, *, false_positive_rate: float) -> float:
    """Bound the true positive rate of every attack at a false positive rate.

    Args:
        event: What touched the data.
        false_positive_rate: Between 0 and 1.

    Returns:
        An upper bound, at least the false positive rate itself.

    Raises:
        ParameterError: The rate is not between 0 and 1.

    Example:
        >>> from privplan.events import GaussianEvent
        >>> query = GaussianEvent(noise_multiplier=1.0)
        >>> round(true_positive_rate(query, false_positive_rate=0.01), 4)
        0.0924
    """
    checks.probability(false_positive_rate=false_positive_rate)
    found = true_positive_rates(event, false_positive_rates=[false_positive_rate])
    return float(found[0])


def true_positive_rates(event: Event, *, false_positive_rates: ArrayLike) -> Reals:
    """Bound the true positive rate of every attack at several false positive rates.

    Args:
        event: What touched the data.
        false_positive_rates: Any shape; each in [0, 1].

    Returns:
        Upper bounds in the same shape, each at least the false positive rate.

    Raises:
        ParameterError: A rate is outside [0, 1], or NaN.

    Example:
        >>> from privplan.events import GaussianEvent
        >>> query = GaussianEvent(noise_multiplier=1.0)
        >>> true_positive_rates(query, false_positive_rates=[0.01, 0.1]).round(4)
        array([0.0924, 0.3891])
    """
    from privplan import tradeoff  # noqa: PLC0415 - loads numpy and scipy

    curve = tradeoff.curve(event, false_positive_rates)
    return curve.true_positive_rates(false_positive_rates)
