"""Filters: what may still run, when runs are chosen after seeing earlier results.

The exact joint cost of several mechanisms (`accounting.py`) is a theorem about
mechanisms whose noise, rates and counts were fixed beforehand. Whoever looks at run 1
and then chooses the noise of run 2 is outside it: adding run 2 to the exact account
and stopping where that passes the target is not private in general (Tran et al. 2026,
arXiv:2602.06756; a test here builds an analyst who beats it). What holds is a filter: a
limit fixed before the first run, a cost per event that adds up, and a refusal of every
event that would pass the limit. The claim is then the target, however little was spent:
a smaller claim, chosen on stopping, would need an odometer.

    kind   admits                          by
    gdp    plain Gaussians                 Smith & Thakurta 2022, arXiv:2210.17520: the
                                           sum of 1/z^2 may be chosen adaptively
    zcdp   Gaussians and pure queries      Whitehouse et al. 2023, arXiv:2203.05481; or
                                           the next line, at every order at once
    rdp    all but what reads without      Feldman & Zrnic 2021, arXiv:2008.11193,
           noise                           theorem 3.1, and below

Renyi orders must be committed beforehand: the best of many, taken afterwards, is an
order that the results have chosen. With m orders an event is admitted if at least *one*
still has room. Why that holds: let L be the loss and S(a) what was spent at order a.
Whatever the analyst does, exp((a-1)(L - S(a))) is a supermartingale that starts at 1,
so its mean is at most 1 wherever the analyst stops; there, S(a) <= B(a) for some a; and
1 - exp(eps - L) <= c(a) exp((a-1)(L - eps)) at every a (`renyi.epsilon_at`). So

    delta  <=  sum over a of  c(a) exp((a-1) (B(a) - eps)),

and each order may be given the limit B(a) that proves epsilon at delta / m. One order
is Feldman & Zrnic's theorem, and admits most if the plan was right about the order.
Room at *all* orders would be valid at delta, and never admits more than one order does.

Every admission must be decided from public facts and released results only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from privplan import accounting, canonical, filter_costs, renyi
from privplan.budget import Adjacency, PrivacyBudget
from privplan.errors import (
    BudgetExceededError,
    InfeasibleBudgetError,
    ParameterError,
    PolicyError,
)
from privplan.events import ComposedEvent, Event, GaussianEvent

_SAFETY = 1 + 1e-12  # on what is spent: more than a sum can round


class Composition(StrEnum):
    """How the mechanisms behind a claim were chosen, and so how they add up."""

    COMMITTED = "committed"
    ADAPTIVE = "adaptive"

    @property
    def sentence(self) -> str:
        """Say it to the reader of a report.

        Example:
            >>> Composition.COMMITTED.sentence[:55]
            'Every mechanism was fixed before the data was first rea'
        """
        if self is Composition.COMMITTED:
            return (
                "Every mechanism was fixed before the data was first read, so their "
                "joint cost is computed exactly."
            )
        return (
            "Mechanisms were chosen after earlier results were seen, so a filter with "
            "a limit fixed beforehand decided what could still run, and the filter's "
            "target is the claim, however little was spent."
        )


class FilterKind(StrEnum):
    """Which cost a filter adds up."""

    RDP = "rdp"
    ZCDP = "zcdp"
    GDP = "gdp"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyFilter:
    """What a budget still allows, when every next event may depend on past results.

    Attributes:
        kind: Which cost is added up.
        budget: The target, under add-or-remove-one or zero-out.
        orders: Renyi orders, for `rdp` alone; committed before the first event.
        admitted: What was let through so far.

    Example:
        >>> budget = PrivacyBudget(target_epsilon=1.0, target_delta=1e-5)
        >>> start = PrivacyFilter(kind=FilterKind.GDP, budget=budget)
        >>> query = GaussianEvent(noise_multiplier=5.0)
        >>> start.admits(query), start.after(query).admits(query)
        (True, False)
        >>> start.after(query).left
        'one Gaussian query of noise multiplier 5.61 or more'
    """

    kind: FilterKind
    budget: PrivacyBudget
    orders: tuple[float, ...] = ()
    admitted: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        if self.budget.adjacency is Adjacency.REPLACE_ONE:
            raise PolicyError(
                "no filter here bounds replace-one, and its add-or-remove-one limits "
                "would be too generous",
                hint="state the claim under add-or-remove-one",
            )
        wanted = self.kind is FilterKind.RDP
        if bool(self.orders) is not wanted:
            raise ParameterError(
                f"a filter of kind '{self.kind}' was given {len(self.orders)} orders",
                hint="give rdp one order, see `filter_costs.best_order`, or a few; "
                "give the others none",
            )
        if len(set(self.orders)) != len(self.orders):
            raise ParameterError("an order is given twice", hint="give each order once")
        for order in self.orders:
            renyi.check_order(order)
        if not max(self.limits) > 0:
            raise InfeasibleBudgetError(
                "the filter has no room from the start: its orders are too small for "
                f"delta = {self.budget.target_delta:g}",
                stage="filter",
                needed=math.inf,
                target=self.budget.target_epsilon,
                hint="commit a larger order, see `filter_costs.best_order`",
            )

    @property
    def limits(self) -> tuple[float, ...]:
        """Return what may be spent: a number per order for `rdp`, else one."""
        target, delta = self.budget.target_epsilon, self.budget.target_delta
        match self.kind:
            case FilterKind.GDP:
                return (filter_costs.gaussian_limit(target, delta),)
            case FilterKind.ZCDP:
                return (filter_costs.concentrated_limit(target, delta),)
            case FilterKind.RDP:
                return filter_costs.renyi_limits(self.orders, target, delta)

    @property
    def spent(self) -> tuple[float, ...]:
        """Return what was admitted so far, in the units of `limits`."""
        return self._cost(*self.admitted)

    def admits(self, event: Event) -> bool:
        """Return whether an event may run now, as a whole.

        Raises:
            PolicyError: This kind of filter has no bound for the event.
        """
        self._cost(event)
        return self._share(event) <= 1

    def after(self, event: Event) -> PrivacyFilter:
        """Return the filter once an event has run.

        Raises:
            BudgetExceededError: The filter does not admit the event.
            PolicyError: This kind of filter has no bound for the event.
        """
        if self.admits(event):
            return replace(self, admitted=(*self.admitted, event))
        needed = self._share(event)
        raise BudgetExceededError(
            f"the event would bring the {self.kind} filter to "
            f"{canonical.text_up(100 * needed, 1)} % of its limit",
            stage="filter",
            needed=needed,
            target=1.0,
            hint=f"add noise or run fewer steps; what still fits is {self.left}",
        )

    @property
    def epsilon_if_all_spent(self) -> float:
        """Return the epsilon of a filter at its limits: the claim, at most the target.

        Computed forward from the limits, which were found backward from the target.
        """
        delta = self.budget.target_delta
        match self.kind:
            case FilterKind.GDP:
                whole = GaussianEvent(noise_multiplier=self.limits[0] ** -0.5)
                return accounting.epsilon(whole, delta=delta).upper
            case FilterKind.ZCDP:
                return filter_costs.concentrated_epsilon(self.limits[0], delta)
            case FilterKind.RDP:
                return filter_costs.renyi_epsilon(self.orders, self.limits, delta)

    @property
    def left(self) -> str:
        """Say what still fits: the largest Gaussian query over all records."""
        units = self._cost(GaussianEvent(noise_multiplier=1.0))
        rows = zip(units, self.limits, self.spent, strict=True)
        # 0.1 % less, so that what is printed is admitted after all rounding.
        room = max((0.999 * limit - spent) / unit for unit, limit, spent in rows)
        if not room > 1e-12:
            return "nothing"
        least = canonical.round_up(room**-0.5, 3)
        return f"one Gaussian query of noise multiplier {least:g} or more"

    def _share(self, event: Event) -> float:
        """Return how full the filter would be; the roomiest order counts."""
        rows = zip(self._cost(*self.admitted, event), self.limits, strict=True)
        shares = [cost * _SAFETY / limit for cost, limit in rows if limit > 0]
        return min(shares)

    def _cost(self, *events: Event) -> tuple[float, ...]:
        whole = ComposedEvent(events=events)
        match self.kind:
            case FilterKind.GDP:
                return (filter_costs.gaussian(whole),)
            case FilterKind.ZCDP:
                return (filter_costs.concentrated(whole),)
            case FilterKind.RDP:
                found = renyi.curve(whole, self.orders)
                if not min(found) < math.inf:
                    raise PolicyError(
                        "a filter of kind 'rdp' has no bound for this event: it reads "
                        "records with no noise, or next to none",
                        hint="run only what adds noise",
                    )
                return found
