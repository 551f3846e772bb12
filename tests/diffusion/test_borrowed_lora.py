"""Thin products beside the layers of diffusers: their gradients, and what stays put."""

import pytest
import torch

from diffusion import adopting, pretrained, releases
from diffusion.adapters import load_plain, plain_name
from diffusion.denoisers import loss_of
from diffusion.ema import Ema
from diffusion.parts import SHARED, new_learned, private_network, start_phase, whole
from diffusion.per_example import Clipping, engine
from diffusion.randomness import RandomSource
from diffusion.rehearsal import wide
from diffusion.trainer import private_step
from diffusion.watching import RunOptions
from privplan import plan_size
from privplan.planner import PlanRequest, TrainingWishes, Wishes, make_plan

pytest.importorskip("diffusers")
models = pytest.importorskip("tests.diffusion.borrowed_models")

TUNED = {
    "unet": "lora:2@attention+conv",
    "conditioned": "lora:2@attention+conv",
    "dit": "lora:2@attention",
}
SAID = {"declared_by": "the data office", "data_name": "noise", "classes": 10}


@pytest.fixture(scope="module")
def plans(tmp_path_factory):
    """A plan that tunes thin products, and the weights it begins from, by name."""
    base, found = tmp_path_factory.mktemp("borrowed"), {}
    for name, tune in TUNED.items():
        models.saved(base / name, name)
        adopting.adopt(base / name, base / f"{name}-taken", **SAID)
        weights = pretrained.load(base / f"{name}-taken")
        wishes = Wishes(
            steps=2, sample_rate=0.02, noise_multiplicity=2, pretrained=weights.document
        )
        training = TrainingWishes(tune=tune)
        asked = PlanRequest(target_epsilon=3.0, wishes=wishes, training=training)
        found[name] = make_plan(asked), weights.tensors
    return found


def stirred(network):
    """Give each product some value: beside a zero factor the other has no gradient."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


def drawn(plan, records, draws):
    """Rows as the loss of a plan draws them, from a seed."""
    generator = torch.Generator().manual_seed(3)
    count = records * draws
    clean = torch.rand(records, 1, 8, 8, generator=generator).repeat(draws, 1, 1, 1)
    sigma = loss_of(plan, whole(plan)).law.sample(count, generator=generator)
    noise = torch.randn(clean.shape, generator=generator)
    labels = torch.arange(records).repeat(draws)
    return clean, clean + sigma[:, None, None, None] * noise, sigma, labels


@pytest.mark.parametrize("name", TUNED)
@pytest.mark.parametrize("kind", ["auto", "vmap"])
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_the_gradient_of_each_factor_is_that_of_autograd(plans, name, kind):
    """A product that an engine has no rule for would train on nothing, or unclipped."""
    plan, tensors = plans[name]
    network = private_network(plan)
    load_plain(network, tensors)
    stirred(network).double()
    row_loss = wide(loss_of(plan, whole(plan)).row_loss)
    records, draws = 3, 2
    rows = drawn(plan, records, draws)
    trained = [p for p in network.parameters() if p.requires_grad]
    alone = []
    for record in range(records):
        own = tuple(row[record::records] for row in rows)
        found = torch.autograd.grad(row_loss(network, own).mean(), trained)
        alone.append(found)
    norms = [sum(float(g.square().sum()) for g in one) ** 0.5 for one in alone]
    bound = 0.5 * min(norms)  # every record is clipped: its own norm decides its part
    got = engine(kind).clipped_sum(
        network, row_loss, rows, records=records, noise_multiplicity=draws,
        clipping=Clipping(max_grad_norm=bound),
    )  # fmt: skip
    assert len(got) == len(trained)
    for at, found in enumerate(got):
        truth = sum(
            one[at] * (bound / norm) for one, norm in zip(alone, norms, strict=True)
        )
        assert float(truth.norm()) > 0
        # 1e-9: sums of at most some thousand terms, by both routes in float64.
        assert float((found - truth).norm()) <= 1e-9 * float(truth.norm())


@pytest.mark.parametrize("name", TUNED)
def test_a_private_step_moves_every_product_and_no_other_bit(plans, digits, name):
    """What is frozen was promised to be public: one moved bit of it is a release."""
    plan, tensors = plans[name]
    (phase,) = plan.private_phases
    learned = new_learned(plan, RunOptions())
    begun = learned.parts[SHARED]
    load_plain(begun.network, tensors)
    begun.ema = Ema(begun.network, 0.9)
    start_phase(learned, plan, phase)
    learner = learned.learner
    before = {n: t.clone() for n, t in learner.network.state_dict().items()}
    setting = releases.setting_of(plan, phase, RunOptions())
    spent = []
    for _ in range(2):
        private_step(
            learner, digits, mechanism=setting.mechanism, loss=setting.loss,
            performance=setting.performance, random=RandomSource(),
            spend=lambda: spent.append(1),
        )  # fmt: skip
    assert spent == [1, 1]
    after = learner.network.state_dict()
    moved = {n for n, t in after.items() if not torch.equal(t, before[n])}
    products = {n for n in after if n.split(".")[-2] in {"low", "high"}}
    assert moved == products
    frozen = {plain_name(n): t for n, t in after.items() if n not in products}
    assert frozen.keys() == tensors.keys()
    assert all(torch.equal(frozen[n], tensor) for n, tensor in tensors.items())
    beside = plan_size.selected(plan.data, plan.training).adapters
    assert len(products) == 2 * len(beside)
    assert any("conv" in n for n in beside) == ("conv" in TUNED[name])
