from dataclasses import replace

import pytest
import torch

from diffusion import checkpoint, run
from diffusion.blueprint import network_of
from diffusion.denoisers import denoiser_of
from diffusion.learned import Learned
from diffusion.parts import new_learned, parts_of, start_phase, trained_at, trained_by
from diffusion.queries import prior_of
from diffusion.watching import RunOptions, Silent
from privplan import ledger
from privplan.planner import PlanRequest, Wishes, make_plan
from privplan.stages import Sharing

pytestmark = pytest.mark.usefixtures("flown_once")

INSIDE, OUTSIDE = (0.25, 0.9), (0.02, 0.1, 0.19, 1.0, 5.0, 10.0)


class StopBeforePrivate(Silent):
    """Stops once the synthetic images are learned, before any private step."""

    stop = False

    def advance(self, phase, *, done):
        self.stop = phase.name == "synthetic" and done == phase.steps

    def should_stop(self):
        return self.stop


def released(plan, folder):
    """The denoiser of a finished run."""
    networks = {name: network_of(plan).eval() for name in parts_of(plan)}
    answers = checkpoint.load_model(
        folder / checkpoint.MODEL_NAME, networks, plan_digest=plan.digest
    )
    return denoiser_of(plan, networks, prior_of(plan, answers))


def under_way(plan, folder) -> tuple[Learned, object]:
    """What a run has learned so far, and its denoiser with averaged weights."""
    learned = new_learned(plan, RunOptions())
    checkpoint.load_state(folder, learned, plan_digest=plan.digest)
    networks = {}
    for name, part in learned.parts.items():
        networks[name] = network_of(plan).eval()
        networks[name].load_state_dict(part.ema.averaged())
    return learned, denoiser_of(plan, networks, prior_of(plan, learned.answers))


def answers_at(denoise, sigmas):
    x = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 9, 10, 10])
    with torch.no_grad():
        return [denoise(x, torch.full((6,), sigma), labels) for sigma in sigmas]


@pytest.mark.parametrize("kind", ["gated", "experts"])
def test_private_steps_change_no_bit_outside_the_private_sigmas(
    kind, kinds, digits, tmp_path
):
    """Else the claim that public stages are public would be untrue."""
    plan, folder = kinds[kind], tmp_path / "run"
    assert not run.train(plan, digits, folder, watcher=StopBeforePrivate()).finished
    _, before = under_way(plan, folder)
    assert run.train(plan, digits, folder, resume=True).finished
    after = released(plan, folder)
    for one, other in zip(
        answers_at(before, OUTSIDE), answers_at(after, OUTSIDE), strict=True
    ):
        assert torch.equal(one, other)
    for one, other in zip(
        answers_at(before, INSIDE), answers_at(after, INSIDE), strict=True
    ):
        assert not torch.equal(one, other)


def test_rows_of_other_sigmas_beside_it_change_no_answer(kinds, digits, tmp_path):
    plan = kinds["gated"]
    run.train(plan, digits, tmp_path / "run")
    denoise = released(plan, tmp_path / "run")
    x, labels = torch.randn(4, 1, 8, 8), torch.tensor([3, 3, 3, 3])
    sigma = torch.tensor([0.05, 0.5, 0.7, 4.0])
    with torch.no_grad():
        together = denoise(x, sigma, labels)
        for row in range(4):
            alone = denoise(x, torch.full((4,), float(sigma[row])), labels)
            assert torch.equal(together[row], alone[row])


def test_a_gated_private_part_begins_as_the_average_of_the_public_one(kinds):
    plan = kinds["gated"]
    learned = new_learned(plan, RunOptions())
    synthetic, private = plan.phases[1:]
    start_phase(learned, plan, synthetic)
    for _ in range(3):
        for parameter in learned.learner.network.parameters():
            parameter.grad = torch.ones_like(parameter)
        learned.learner.update()
    start_phase(learned, plan, private)
    public, own = learned.parts["public"], learned.parts["private"]
    assert learned.learner is own
    for name, value in public.ema.averaged().items():
        assert torch.equal(own.network.state_dict()[name], value)
        assert torch.equal(own.ema.averaged()[name], value)
    assert not torch.equal(
        next(public.network.parameters()), next(own.network.parameters())
    )


def test_experts_begin_alike_and_see_their_own_sigmas_alone(kinds):
    plan = kinds["experts"]
    learned = new_learned(plan, RunOptions())
    first, other = (part.network.state_dict() for part in learned.parts.values())
    for name, value in first.items():
        assert torch.equal(value, other[name])
    synthetic, private = plan.phases[1:]
    assert trained_at(plan, synthetic) == ((0.02, 0.2),)
    assert trained_at(plan, private) == ((0.2, 1.0),)


def test_public_steps_of_a_shared_or_gated_plan_see_every_sigma(kinds):
    for kind in ("sequential", "gated", "mixture"):
        (phase,) = (p for p in kinds[kind].phases if p.name == "synthetic")
        assert trained_at(kinds[kind], phase) == ((0.02, 10.0),)


def test_each_sharing_mode_has_its_parts(kinds, small):
    assert parts_of(kinds["sequential"]) == parts_of(kinds["mixture"]) == ("shared",)
    assert parts_of(kinds["gated"]) == ("public", "private")
    assert parts_of(kinds["experts"]) == ("synthetic", "private")
    assert parts_of(kinds["untrained"]) == ()


def test_a_phase_without_a_stage_prepares_every_expert(small):
    """Pre-training under `experts` would else train a network that nobody asks."""
    from privplan.planner import PublicData

    public = PublicData(name="p", digest="a" * 64, declared_by="x")
    plan = small(
        "coarse=public,context=private,cleaning=public",
        sharing=Sharing.EXPERTS,
        pretraining="synthetic",
        public=public,
    )
    names = [trained_by(plan, phase) for phase in plan.phases]
    assert names == ["first", "public", "private"]
    learned = new_learned(plan, RunOptions())
    for parameter in learned.learner.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    learned.learner.update()
    start_phase(learned, plan, plan.phases[1])
    for name, value in learned.parts["first"].ema.averaged().items():
        assert torch.equal(learned.learner.network.state_dict()[name], value)


class StopBeforeRepair(Silent):
    """Stops after the last private step."""

    stop = False

    def advance(self, phase, *, done):
        self.stop = phase.name == "private" and done == phase.steps

    def should_stop(self):
        return self.stop


def test_a_repair_trains_the_synthetic_sigmas_and_costs_nothing(digits, tmp_path):
    """Private steps on shared weights move the synthetic stages; these move back."""
    wishes = Wishes(
        steps=3, sample_rate=0.05, noise_multiplicity=1, synthetic_steps=3,
        repair_steps=4,
    )  # fmt: skip
    repaired, plain = (
        make_plan(PlanRequest(target_epsilon=3.0, stages="", wishes=one))
        for one in (wishes, replace(wishes, repair_steps=None))
    )
    repair = repaired.phases[-1]
    assert trained_at(repaired, repair) == ((0.02, 0.2), (4.0, 10.0))
    assert repaired.phases[:-1] == plain.phases
    assert repaired.accounting == plain.accounting
    assert repair.seed != repaired.phases[0].seed
    folder = tmp_path / "run"
    watcher = StopBeforeRepair()
    assert not run.train(repaired, digits, folder, watcher=watcher).finished
    before, _ = under_way(repaired, folder)
    assert run.train(repaired, digits, folder, resume=True).finished
    after, _ = under_way(repaired, folder)
    one, other = (
        found.parts["shared"].network.state_dict() for found in (before, after)
    )
    assert any(not torch.equal(one[name], other[name]) for name in one)
    content = ledger.read(folder / "ledger.sqlite")
    assert content.counted("repair") == 4
