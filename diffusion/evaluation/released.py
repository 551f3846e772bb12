"""What a finished run has released beside its weights: noisy answers.

    baseline_of       images drawn from the Gaussian query alone
    label_distance    how far the labels of samples are from the noisy label counts

Both are post-processing of answers that the ledger holds.
"""

from pathlib import Path

import torch

from diffusion import checkpoint
from diffusion.blueprint import network_of
from diffusion.data import PublicImages
from diffusion.evaluation.baseline import gaussian_images
from diffusion.evaluation.outcomes import Charged
from diffusion.parts import parts_of
from diffusion.queries import Answers, prior_of, sample_labels
from privplan.plan import Plan, QueryPhase


def answers_of(plan: Plan, folder: Path) -> Answers:
    """Return the noisy answers of a finished run.

    Raises:
        DataError: The run has released nothing, or its release is damaged.
        IntegrityError: The release belongs to another plan.
    """
    networks = {name: network_of(plan) for name in parts_of(plan)}
    path = folder / checkpoint.MODEL_NAME
    return checkpoint.load_model(path, networks, plan_digest=plan.digest)


def baseline_of(
    plan: Plan, answers: Answers, count: int, *, seed: int = 0
) -> PublicImages | None:
    """Draw from the Gaussian of a run; None if its plan asks for none.

    Args:
        plan: The run's plan.
        answers: Its noisy answers.
        count: How many images.
        seed: Public.
    """
    prior = prior_of(plan, answers)
    if prior is None:
        return None
    return gaussian_images(prior, sample_labels(plan, answers, count), seed=seed)


def label_distance(
    plan: Plan, answers: Answers, samples: PublicImages
) -> Charged[float] | None:
    """Return the total variation between labels of samples and noisy label counts.

    Args:
        plan: The run's plan.
        answers: Its noisy answers.
        samples: Drawn images.

    Returns:
        Between 0 and 1; None if the plan asks for no label counts.
    """
    for phase in plan.phases_of(QueryPhase):
        if phase.asks != "labels":
            continue
        counts = answers[phase.name].mean(dim=0).clamp(min=0.0)
        drawn = torch.bincount(samples.labels, minlength=plan.data.classes).double()
        # no positive count at all says nothing of the shares
        wanted = counts / counts.sum().clamp(min=1e-12)
        apart = 0.5 * (wanted - drawn / drawn.sum()).abs().sum()
        return Charged(value=float(apart), phase=phase.name)
    return None
