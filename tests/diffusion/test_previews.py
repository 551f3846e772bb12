"""Images during a run: drawn from public weights, and the run does not notice."""

import inspect

import pytest
import torch
from safetensors.torch import load_file

from diffusion import previews, run, self_tests
from diffusion.checkpoint import MODEL_NAME
from diffusion.randomness import RandomSource, SecureStream
from diffusion.watching import Gallery, RunOptions


class Wall:
    """Keeps what it is shown."""

    def __init__(self):
        self.hung = []

    def hang(self, images, *, phase, done, seconds):
        assert 0 < seconds < 60
        self.hung.append((phase, done, images))


def carried_out(plan, digits, folder, gallery=None):
    folder.mkdir()
    options = RunOptions(unsafe_seed=7, gallery=gallery)
    assert run.train(plan, digits, folder, options=options).finished
    return load_file(folder / MODEL_NAME)


@pytest.mark.parametrize("kind", ["sequential", "gated", "untrained"])
def test_a_run_that_is_looked_at_learns_the_same_to_the_last_bit(
    kind, kinds, digits, tmp_path
):
    """A preview that drew from the run's randomness would change its noise."""
    wall = Wall()
    plain = carried_out(kinds[kind], digits, tmp_path / "a")
    watched = carried_out(kinds[kind], digits, tmp_path / "b", wall)
    assert watched.keys() == plain.keys()
    assert all(torch.equal(watched[name], plain[name]) for name in plain)
    assert bool(wall.hung) == (kind != "untrained")
    for _, _, images in wall.hung:
        assert images.shape == (previews.COUNT, 1, 8, 8)
        assert images.dtype == torch.uint8


def test_when_a_preview_comes_is_a_matter_of_the_plan(small_plan, digits, tmp_path):
    """A clock would tell how long steps take, and so how large batches are."""
    wall = Wall()
    carried_out(small_plan, digits, tmp_path / "a", wall)
    steps = {phase.name: phase.steps for phase in small_plan.phases}
    due = [
        (name, done)
        for name, count in steps.items()
        for done in range(1, count + 1)
        if previews.is_due(done=done, steps=count)
    ]
    assert [(phase, done) for phase, done, _ in wall.hung] == due


@pytest.mark.parametrize("steps", [1, 3, 10, 99, 12_345])
def test_a_phase_has_ten_previews_at_most_and_one_at_its_end(steps):
    due = [d for d in range(1, steps + 1) if previews.is_due(done=d, steps=steps)]
    assert len(due) == min(steps, 10)
    assert due[-1] == steps


def test_a_preview_is_drawn_from_plan_and_weights_and_nothing_else():
    """What gets no records cannot show them."""
    assert set(inspect.signature(previews.preview).parameters) == {
        "plan", "learned", "device", "space", "text",
    }  # fmt: skip
    assert isinstance(Wall(), Gallery)


class Stuck(SecureStream):
    """A stream that repeats one number."""

    def __init__(self):
        super().__init__(bytes(32))

    def normals(self, count):
        return RandomSource(unsafe_seed=1).stream().normals(1).repeat(count)


def test_the_self_tests_pass_here_and_fail_on_broken_machinery(monkeypatch):
    assert self_tests.noise().passed
    assert not self_tests.noise(Stuck()).passed
    same = RandomSource(unsafe_seed=1).stream(), RandomSource(unsafe_seed=1).stream()
    assert not self_tests.noise(*same).passed
    assert all(found.passed for found in self_tests.engines())
    right = self_tests._clipped

    def wrong(name, *, records):
        scale = 1.5 if name in {"folded", "auto"} else 1.0
        return [scale * part for part in right(name, records=records)]

    monkeypatch.setattr(self_tests, "_clipped", wrong)
    found = {test.name: test.passed for test in self_tests.engines()}
    assert found == {"engine folded": False, "engine vmap": True, "clipping": False}
