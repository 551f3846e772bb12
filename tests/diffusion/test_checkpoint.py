import pytest
import torch

from diffusion import checkpoint
from diffusion.blueprint import network_of
from diffusion.checkpoint import Place
from diffusion.parts import SHARED, new_learned
from diffusion.watching import RunOptions
from privplan.errors import DataError, IntegrityError, PolicyError
from privplan.ledger import LedgerHead


@pytest.fixture
def learned(small_plan):
    """Two steps taken, so that the optimiser has moments, and an answer."""
    made = new_learned(small_plan, RunOptions())
    for _ in range(2):
        for parameter in made.learner.network.parameters():
            parameter.grad = torch.randn(parameter.shape)
        made.learner.update()
    made.answers["asked"] = torch.randn(1, 7, dtype=torch.float64)
    return made


@pytest.fixture
def learner(learned):
    return learned.learner


@pytest.fixture
def saved(learned, small_plan, tmp_path):
    (tmp_path / "checkpoint").mkdir()
    place = Place(
        plan_digest=small_plan.digest,
        phase="private",
        phase_steps=2,
        head=LedgerHead(sequence=3, hash="a" * 64),
    )
    checkpoint.save_state(tmp_path, learned, place)
    facts = {"plan_digest": small_plan.digest}
    checkpoint.save_model(tmp_path, learned, facts)
    return place


def test_a_learner_loaded_again_takes_the_same_next_step(
    learner, saved, small_plan, tmp_path
):
    """Weights, averages and both moments: one forgotten, and the step differs."""
    state = new_learned(small_plan, RunOptions())
    found = checkpoint.load_state(tmp_path, state, plan_digest=small_plan.digest)
    again = state.learner
    assert found == saved
    for one in (learner, again):
        generator = torch.Generator().manual_seed(0)
        one.learning_rate = 1e-3
        for parameter in one.network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        one.update()
    for a, b in zip(
        learner.network.parameters(), again.network.parameters(), strict=True
    ):
        assert torch.equal(a, b)
    for name, a in learner.ema.averaged().items():
        assert torch.equal(a, again.ema.averaged()[name])


def test_the_released_model_is_the_average(learner, saved, small_plan, tmp_path):
    network = network_of(small_plan)
    checkpoint.load_model(
        tmp_path / checkpoint.MODEL_NAME,
        {SHARED: network},
        plan_digest=small_plan.digest,
    )
    for name, value in network.state_dict().items():
        assert torch.equal(value, learner.ema.averaged()[name])


def test_an_answer_is_kept_to_the_last_bit(learned, saved, small_plan, tmp_path):
    """Another rounding would be another prior than the one that was trained with."""
    state = new_learned(small_plan, RunOptions())
    checkpoint.load_state(tmp_path, state, plan_digest=small_plan.digest)
    released = checkpoint.load_model(
        tmp_path / checkpoint.MODEL_NAME, {}, plan_digest=small_plan.digest
    )
    for answers in (state.answers, released):
        assert torch.equal(answers["asked"], learned.answers["asked"])


def test_no_state_yet_is_not_an_error(learned, small_plan, tmp_path):
    assert (
        checkpoint.load_state(tmp_path, learned, plan_digest=small_plan.digest) is None
    )


def test_a_checkpoint_of_another_plan_is_refused(learned, saved, small_plan, tmp_path):
    with pytest.raises(PolicyError, match="another plan"):
        checkpoint.load_state(tmp_path, learned, plan_digest="f" * 64)
    with pytest.raises(IntegrityError, match="another plan"):
        checkpoint.load_model(
            tmp_path / checkpoint.MODEL_NAME,
            {SHARED: network_of(small_plan)},
            plan_digest="f" * 64,
        )


@pytest.mark.parametrize("keep", [0, 7, 500, -3])
def test_a_cut_checkpoint_is_refused(learned, saved, small_plan, tmp_path, keep):
    for name in (checkpoint.STATE_NAME, checkpoint.MODEL_NAME):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="damaged"):
        checkpoint.load_state(tmp_path, learned, plan_digest=small_plan.digest)
    with pytest.raises(DataError, match="damaged"):
        checkpoint.load_model(
            tmp_path / checkpoint.MODEL_NAME,
            {SHARED: network_of(small_plan)},
            plan_digest=small_plan.digest,
        )


def test_a_checkpoint_holds_no_random_state(saved, tmp_path):
    """A stored generator would let anyone repeat the noise, and subtract it."""
    for name in (checkpoint.STATE_NAME, checkpoint.MODEL_NAME):
        header = (tmp_path / name).read_bytes()[:200_000].lower()
        for word in (b"rng", b"seed", b"generator", b"random"):
            assert word not in header
