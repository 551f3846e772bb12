"""Queries: one noisy sum over all records, and what is made of the answer.

    phase       sum over the records                        makes
    gaussian    class sums, class counts, second moments    a denoiser in closed form
    labels      one count per class                         labels of the samples
    count       how many records there are                  a number

Each is counted before a record is touched, has L2 sensitivity 1 under
add-or-remove-one, and leaves this room with its noise. A record whose label does not
exist counts as zero among the labels and raises nothing.

Source: the Gaussian mechanism, Dwork & Roth 2014, theorem A.1.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from diffusion.data import PrivateImages
from diffusion.gaussian_prior import GaussianPrior, fit
from diffusion.gaussian_query import QueryConfig, query
from diffusion.privatize import noisy_sum
from diffusion.randomness import RandomSource
from privplan import canonical, checks
from privplan.errors import DataError, PolicyError
from privplan.plan import GaussianPhase, Plan, QueryPhase

ANSWERS_NAME = "answers.json"
_FORMAT = "privplan-answers/1"
_RECORDS_AT_ONCE = 4096

Answers = Mapping[str, Tensor]


def noisy_answer(
    plan: Plan,
    phase: GaussianPhase | QueryPhase,
    images: PrivateImages,
    *,
    random: RandomSource,
    spend: Callable[[], None],
) -> Float64[Tensor, " length"]:
    """Ask the records once.

    Args:
        plan: The plan.
        phase: Which of its queries.
        images: The private records.
        random: Fresh randomness.
        spend: Called before any record is touched; durable when it returns.

    Returns:
        The sum plus noise; public.

    Raises:
        PolicyError: A unit may have several records here, and would weigh as many.
        PrivplanError: `spend` refused; nothing was touched.
    """
    if images.units is not None and images.units.max_records != 1:
        raise PolicyError(
            "a query counts every record, and a unit may have several of them here",
            hint="plan without queries, or with one record per unit",
        )
    spend()
    if isinstance(phase, GaussianPhase):
        total = _moments(plan, phase, images)
    elif phase.asks == "labels":
        total = _label_counts(images.labels, plan.data.classes)
    else:
        total = torch.tensor([len(images.labels)], dtype=torch.float64)
    (noisy,) = noisy_sum(
        [total],
        stream=random.stream(),
        noise_multiplier=phase.noise_multiplier,
        max_grad_norm=1.0,
    )
    return noisy


def prior_of(plan: Plan, answers: Answers) -> GaussianPrior | None:
    """Return the Gaussian prior of a plan; None if it does not ask for one.

    The same answer gives the same prior, so it is made anew wherever it is needed.

    Raises:
        DataError: The answer is missing.
    """
    for phase in plan.phases_of(GaussianPhase):
        return fit(_answer(answers, phase), prior_config(plan, phase))
    return None


def prior_config(plan: Plan, phase: GaussianPhase) -> QueryConfig:
    """Return what a Gaussian query asks, in full."""
    return QueryConfig(
        channels=plan.data.channels,
        height=plan.data.height,
        width=plan.data.width,
        classes=plan.data.classes,
        noise_multiplier=phase.noise_multiplier,
        centre=phase.centre,
        radius=phase.radius,
        shares=phase.shares,
    )


def sample_labels(plan: Plan, answers: Answers, count: int) -> Int64[Tensor, " count"]:
    """Return the labels of the images to draw.

    In proportion to the noisy counts where a plan asks for them, else equally often.

    Raises:
        DataError: The answer is missing.
    """
    weights = torch.ones(plan.data.classes, dtype=torch.float64)
    for phase in plan.phases_of(QueryPhase):
        if phase.asks == "labels":
            weights = _answer(answers, phase).clamp(min=0.0)
    return allocated(weights, count)


def allocated(
    weights: Float64[Tensor, " classes"], count: int
) -> Int64[Tensor, " count"]:
    """Share out labels in proportion to weights, by largest remainders.

    Ties go to the smaller label; labels take turns while they last. Weights that are
    all zero count as equal.

    Args:
        weights: At least 0.
        count: How many labels.

    Example:
        >>> allocated(torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64), 6).tolist()
        [0, 1, 0, 1, 0, 0]
    """
    checks.count(count=count)
    if not float(weights.sum()) > 0:
        weights = torch.ones_like(weights)
    exact = weights / weights.sum() * count
    whole = exact.floor()
    left = count - int(whole.sum())
    most = torch.argsort(exact - whole, descending=True, stable=True)[:left]
    whole[most] += 1
    turns = [
        (turn, label)
        for label, times in enumerate(whole.long().tolist())
        for turn in range(times)
    ]
    return torch.tensor([label for _, label in sorted(turns)])


def document(plan: Plan, answers: Answers) -> bytes:
    """Write the noisy answers to a plan's queries as JSON.

    Raises:
        DataError: An answer is missing.
    """
    found = [
        {
            "name": phase.name,
            "asks": phase.asks,
            "releases": phase.releases,
            "noise_multiplier": canonical.decimal_text(phase.noise_multiplier),
            "times": len(answers[phase.name]),
            "answer": [
                canonical.decimal_text(value)
                for value in _answer(answers, phase).tolist()
            ],
        }
        for phase in plan.phases_of(QueryPhase)
    ]
    return canonical.canonical_bytes(
        {"format": _FORMAT, "plan_digest": plan.digest, "answers": found}
    )


def _answer(
    answers: Answers, phase: GaussianPhase | QueryPhase
) -> Float64[Tensor, " length"]:
    """Return the mean over the times a query was asked."""
    if phase.name not in answers:
        raise DataError(
            f"the answer to query '{phase.name}' is missing",
            hint="restore the checkpoint it was kept in; it cannot be asked again",
        )
    return answers[phase.name].mean(dim=0)


def _moments(
    plan: Plan, phase: GaussianPhase, images: PrivateImages
) -> Float64[Tensor, " length"]:
    config = prior_config(plan, phase)
    total = torch.zeros(sum(config.parts), dtype=torch.float64)
    for start in range(0, len(images.labels), _RECORDS_AT_ONCE):
        stop = min(start + _RECORDS_AT_ONCE, len(images.labels))
        total += query(*images.batch(torch.arange(start, stop)), config)
    return total


def _label_counts(
    labels: Int64[Tensor, " records"], classes: int
) -> Float64[Tensor, " classes"]:
    known = labels[(labels >= 0) & (labels < classes)]
    return torch.bincount(known, minlength=classes).double()
