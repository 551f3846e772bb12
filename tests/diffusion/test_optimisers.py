"""Every optimiser a plan can name learns, and goes on where a checkpoint left it."""

import pytest
import torch

from diffusion import checkpoint
from diffusion.optimisers import OPTIMISERS, new_optimiser
from diffusion.parts import SHARED, new_learned
from diffusion.watching import RunOptions
from privplan.errors import ParameterError


def gradients(network, number):
    generator = torch.Generator().manual_seed(number)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def learned_with(plan, name):
    learned = new_learned(plan, RunOptions())
    learner = learned.parts[SHARED]
    learner.optimiser = new_optimiser(name, learner.network.parameters())
    learner.learning_rate = 1e-3
    return learned


@pytest.mark.parametrize("name", OPTIMISERS)
def test_steps_after_a_checkpoint_are_those_of_an_unbroken_run(
    small_plan, tmp_path, name
):
    """Moments that a checkpoint forgets would change the run without a word."""
    (tmp_path / "checkpoint").mkdir()
    learned = learned_with(small_plan, name)
    learner = learned.parts[SHARED]
    for number in range(3):
        gradients(learner.network, number)
        learner.update()
    head = checkpoint.LedgerHead(sequence=1, hash="0" * 64)
    place = checkpoint.Place(plan_digest="d", phase="x", phase_steps=3, head=head)
    checkpoint.save_state(tmp_path, learned, place)
    again = learned_with(small_plan, name)
    checkpoint.load_state(tmp_path, again, plan_digest="d")
    for one in (learned, again):
        gradients(one.parts[SHARED].network, 3)
        one.parts[SHARED].update()
    assert torch.equal(weights(learner.network), weights(again.parts[SHARED].network))


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_step_against_a_gradient_goes_down(name):
    """A sign or a rate that is lost would train nothing, or backwards."""
    layer = torch.nn.Linear(2, 1)
    optimiser = new_optimiser(name, layer.parameters())
    for group in optimiser.param_groups:
        group["lr"] = 0.01
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.ones_like(layer.weight)
    optimiser.step()
    assert (layer.weight < before).all()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_plan_chooses_the_optimiser(small_plan, name):
    """A plan that names one and a run that uses another would not be the plan."""
    training = small_plan.training.model_copy(update={"optimiser": name})
    plan = small_plan.model_copy(update={"training": training})
    learner = new_learned(plan, RunOptions()).parts[SHARED]
    assert type(learner.optimiser).__name__.lower() == name


def test_an_unknown_optimiser_is_refused():
    with pytest.raises(ParameterError, match="optimiser"):
        new_optimiser("lion", torch.nn.Linear(1, 1).parameters())
