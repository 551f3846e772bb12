"""Advice about a plan, in plain sentences: what would help it, and what would not.

Every sentence hangs on a threshold with a name and a reason. Advice never changes a
plan. It is computed from public constants, so printing it costs nothing.

    sated         eta > 0.95     the last 5 % are all that larger batches can bring
    starved       eta < 0.5      half of what the budget allows is thrown away
    drowned       F < 30         training from scratch was not seen to work below it
    from scratch  F0 < 100       it was not seen to work well below it
    queries       20 % of mu^2; 70 % where F0 < 10; more was not seen to pay
    delta         > 1e-4         usual promises are 1e-5 and below

The thresholds of F come from 8 x 8 digits with 58,600 parameters: at F = 13 private
training from scratch limped and needed a prepared start, at 1.9 a short fine-tune was
still worth having. F is too hard on large networks, whose gradients keep to few of
their dimensions: a published MNIST run of 1.75 million parameters had F0 = 12 (at
epsilon 1), and classifiers trained on its images reached 94 %. So beyond half a
million parameters both thresholds are 10. Rules of thumb, all of them.

Source: the published run is Dockhorn et al. 2023, arXiv:2210.09929; the rest are our
own measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from privplan.alternatives import TWICE_THE_COMPUTE
from privplan.candidates import Start
from privplan.choice import FEWEST_STEPS, STARVED, Choice, two_digits
from privplan.efficiency import feasibility

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privplan.alternatives import Alternative
    from privplan.candidates import Candidate

    Said = list[tuple[str, str]]

SATED = 0.95
DROWNED, FROM_SCRATCH = 30.0, 100.0
LARGE_NETWORK, DROWNED_IF_LARGE = 500_000, 10.0
MOST_FOR_QUERIES, MOST_FOR_QUERIES_IF_NOISY, NOISY = 0.2, 0.7, 10.0
LARGE_DELTA = 1e-4
CORRELATED_NOISE_BELOW = 0.6
"""Banded matrix factorisation: 0.53 of the noise at z = 0.53, none gained at 1.3."""

_UNUSED, _OVER = 0.8, 1.05
_HELPS = 1.1
_SIGNAL_TO_SPARE = 0.2  # gain per step; above it, twice the steps gain a tenth


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One sentence about a plan.

    Attributes:
        topic: One word to find it by.
        text: The sentence, without a full stop.
    """

    topic: str
    text: str


def advice(choice: Choice, others: Sequence[Alternative] = ()) -> tuple[Advice, ...]:
    """Return what there is to say about a plan, the most important first.

    Args:
        choice: The plan.
        others: As from `alternatives`; what twice the compute brings is read there.

    Example:
        >>> from privplan.budget import PrivacyBudget
        >>> from privplan.candidates import ChoiceRequest, Compute
        >>> from privplan.choice import choose
        >>> made = choose(
        ...     ChoiceRequest(
        ...         budget=PrivacyBudget(target_epsilon=1.0, target_delta=3e-4),
        ...         records=1437, trained_parameters=93_961,
        ...         compute=Compute(draws=1e6), start=Start.PREPARED,
        ...     )
        ... )
        >>> [found.topic for found in advice(made)]
        ['noise', 'parameters', 'delta', 'sated']
    """
    found = [
        *_about_noise(choice),
        *_about_budget(choice),
        *_about_compute(choice, others),
        *_about_limits(choice),
    ]
    return tuple(Advice(topic=topic, text=text) for topic, text in found)


def records_needed(choice: Choice) -> int:
    """Return n at which F would leave the noise behind, at the same delta and eta.

    Example:
        >>> from privplan.budget import PrivacyBudget
        >>> from privplan.candidates import ChoiceRequest, Compute
        >>> from privplan.choice import choose
        >>> made = choose(
        ...     ChoiceRequest(
        ...         budget=PrivacyBudget(target_epsilon=1.0, target_delta=3.6e-4),
        ...         records=1347, trained_parameters=58_600,
        ...         compute=Compute(draws=1e7),
        ...     )
        ... )
        >>> records_needed(made)
        21000
    """
    wanted = _drowned_below(choice)
    return two_digits(choice.request.records * wanted / choice.chosen.feasibility)


def _most(choice: Choice, mu: float) -> float:
    return feasibility(
        records=choice.request.records,
        mu=mu,
        trained_parameters=choice.request.trained_parameters,
    )


def _drowned_below(choice: Choice) -> float:
    large = choice.request.trained_parameters > LARGE_NETWORK
    return DROWNED_IF_LARGE if large else DROWNED


def _about_noise(choice: Choice) -> Said:
    index, wanted = choice.chosen.feasibility, _drowned_below(choice)
    reachable, whole = (_most(choice, mu) for mu in (choice.mu.left, choice.mu.whole))
    said = []
    if index < wanted <= reachable:
        text = (
            f"noise drowns the signal: F = {index:.2g}; with more compute the same "
            f"budget reaches {two_digits(reachable):,}"
        )
        said.append(("noise", text))
    elif index < wanted:
        text = (
            f"noise drowns the signal: F = {index:.2g}; records needed for F = "
            f"{wanted:g} at the same delta: about {records_needed(choice):,}; with "
            "fewer, let queries and synthetic images do most, then fine-tune briefly"
        )
        said.append(("noise", text))
    if index < wanted:
        text = (
            f"train a tenth of the parameters: F x 3.2, here {index * 10**0.5:.2g}, "
            "for the same epsilon"
        )
        said.append(("parameters", text))
    threshold = FROM_SCRATCH if wanted == DROWNED else wanted
    if choice.request.start is Start.SCRATCH and whole < threshold:
        text = (
            f"from scratch this is hard: F0 = {whole:.2g}, and it was seen to work "
            f"from about {threshold:g}; begin from weights prepared without "
            "records, which costs no privacy (--pretrain synthetic, or --from a "
            "checkpoint)"
        )
        said.append(("start", text))
    return said


def _about_budget(choice: Choice) -> Said:
    said = []
    noisy = _most(choice, choice.mu.whole) < NOISY
    most = MOST_FOR_QUERIES_IF_NOISY if noisy else MOST_FOR_QUERIES
    share = choice.mu.fixed_share
    if share > most:
        text = (
            f"what is fixed already takes {_percent(share)} of the budget (of mu^2); "
            f"queries were seen to pay up to {_percent(most)}"
        )
        said.append(("queries", text))
    delta = choice.request.budget.target_delta
    if delta > LARGE_DELTA:
        text = (
            f"delta is {delta:.2g}: with a delta above {LARGE_DELTA:g} a promise "
            "is weak whatever its epsilon is"
        )
        said.append(("delta", text))
    return said


def _about_compute(choice: Choice, others: Sequence[Alternative]) -> Said:
    chosen, more = choice.chosen, _twice_the_compute(others)
    reached = f"{_percent(chosen.efficiency)} of what this budget allows is reached"
    if chosen.efficiency > SATED:
        helps = chosen.gain > _SIGNAL_TO_SPARE * chosen.steps or (
            more is not None and more.gain > _HELPS * chosen.gain
        )
        text = (
            f"larger batches are useless here: {reached}; more steps or noise draws "
            "would still help a little"
            if helps
            else f"more steps and larger batches are useless here: {reached}; more "
            "records, a larger epsilon or fewer trained parameters would help"
        )
        return [("sated", text)]
    if not chosen.efficiency < STARVED:
        return []
    would = (
        ""
        if more is None
        else f"twice the compute would reach {_percent(more.efficiency)}; "
    )
    text = (
        f"this plan is starved of compute: only {reached}; {would}a larger batch, a "
        "smaller network or a faster device would help"
    )
    said = [("starved", text)]
    if chosen.noise_multiplier < CORRELATED_NOISE_BELOW:
        text = (
            "correlated noise (banded matrix factorisation) could halve the noise of "
            "such a plan: 0.53 of it at 60,000 records, batches of 512, 1,000 steps, "
            "epsilon 10; privplan does not have it"
        )
        said.append(("correlated-noise", text))
    return said


def _twice_the_compute(others: Sequence[Alternative]) -> Candidate | None:
    return next((o.candidate for o in others if o.name == TWICE_THE_COMPUTE), None)


def _about_limits(choice: Choice) -> Said:
    request, chosen = choice.request, choice.chosen
    said = []
    part = chosen.draws / request.compute.draws
    if part < _UNUSED:
        text = (
            f"this plan uses {_percent(part)} of the compute it may use; the rest "
            "would bring next to nothing"
        )
        said.append(("unused", text))
    if part > _OVER:
        text = (
            f"this plan takes {part:.2g} times the compute it may use, because what "
            "was fixed asks for it"
        )
        said.append(("over", text))
    fewest = FEWEST_STEPS[request.start]
    if chosen.steps < fewest:
        text = (
            f"{chosen.steps} steps are few: with fewer than {fewest} nothing was seen "
            "to be learned from such a start"
        )
        said.append(("short", text))
    return said


def _percent(part: float) -> str:
    return f"{100 * part:.2g} %" if part < 0.01 else f"{100 * part:.0f} %"
