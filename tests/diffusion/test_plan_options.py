"""What a plan can pin of the training is what the training does."""

import pytest
import torch

from diffusion import checkpoint, denoisers, parts, run
from diffusion.augmentation import Augmentation
from diffusion.blueprint import mechanism_of
from diffusion.noise_mixture import Mixture
from diffusion.watching import RunOptions
from privplan import ledger
from privplan.plan import PlanMixture
from privplan.planner import PlanRequest, TrainingWishes, Wishes, make_plan

pytestmark = pytest.mark.usefixtures("flown_once")


def planned(*, clipping="fixed", **training):
    return make_plan(
        PlanRequest(
            target_epsilon=3.0,
            wishes=Wishes(
                steps=4, sample_rate=0.1, noise_multiplicity=2, clipping=clipping
            ),
            training=TrainingWishes(**training),
        )
    )


def test_an_adaptive_plan_costs_what_its_event_says_and_keeps_its_c(digits, tmp_path):
    """The count inside the step must come out of the same noise, not on top of it."""
    plan = planned(clipping="adaptive")
    (phase,) = plan.private_phases
    step = mechanism_of(phase)
    z, count = step.noise_multiplier, step.adaptive.count_noise_multiplier
    gradient = step.adaptive.gradient_noise_multiplier(z)
    assert gradient**-2 + count**-2 == pytest.approx(z**-2, rel=1e-12)
    assert run.train(plan, digits, tmp_path / "run").finished
    content = ledger.read(tmp_path / "run" / "ledger.sqlite")
    assert content.counted("private") == phase.steps
    learned = parts.new_learned(plan, RunOptions())
    parts.start_phase(learned, plan, phase)
    checkpoint.load_state(tmp_path / "run", learned, plan_digest=plan.digest)
    assert learned.learner.max_grad_norm not in {None, phase.max_grad_norm}


def test_the_planner_leaves_most_of_the_noise_budget_to_the_gradients():
    """However large z is, the count takes at most a quarter of 1/z^2."""
    plan = planned(clipping="adaptive")
    (phase,) = plan.private_phases
    step = mechanism_of(phase)
    assert step.adaptive.count_noise >= step.noise_multiplier
    z = step.noise_multiplier
    assert step.adaptive.gradient_noise_multiplier(z) <= 1.16 * z


def test_a_mixture_of_sigmas_and_moved_pictures_reach_the_loss():
    plan = planned(
        mixture=PlanMixture(cuts=(0.1, 2.0), shares=(1.0, 6.0, 1.0)), flip=True, shift=2
    )
    loss = denoisers.loss_of(plan, parts.whole(plan))
    assert isinstance(loss.law, Mixture)
    cuts = torch.tensor([0.1, 2.0], dtype=torch.float64)
    assert loss.law.cdf(cuts).tolist() == pytest.approx([1 / 8, 7 / 8])
    assert loss.augmentation == Augmentation(flip=True, shift=2)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_plans_optimiser_is_the_one_that_trains(name, digits, tmp_path):
    plan = planned(optimiser=name)
    learned = parts.new_learned(plan, RunOptions())
    parts.start_phase(learned, plan, plan.phases[0])
    assert type(learned.learner.optimiser).__name__.lower() == name
    assert run.train(plan, digits, tmp_path / "run").finished
