"""Sums in whole numbers: sensitivity by counting, exact noise, one step end to end."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion import integer_grid
from diffusion.blueprint import engine_name, mechanism_of, performance_of
from diffusion.clipping import Clipping
from diffusion.denoisers import loss_of
from diffusion.integer_grid import GridEngine, IntegerGrid, noisy_grid_sum
from diffusion.parts import SHARED, new_learned
from diffusion.per_example import accumulate, engine, split_records
from diffusion.randomness import RandomSource
from diffusion.trainer import private_step
from diffusion.watching import RunOptions
from privplan import accounting, discrete_cost, renyi
from privplan.errors import ParameterError
from privplan.events import (
    GaussianEvent,
    PoissonSampledGaussianEvent,
    SelfComposedEvent,
)
from privplan.plan_phases import Wishes
from privplan.planner import PlanRequest, make_plan
from privplan.stages import Source
from tests.contracts import test_engines as contract

C, Z = contract.C, 0.8
GRID = IntegerGrid(max_grad_norm=C, noise_multiplier=Z)


@pytest.fixture
def model():
    torch.manual_seed(7)
    return contract.SmallUNet()


def length(whole):
    return math.sqrt(sum(int((part * part).sum()) for part in whole))


def squared_in_range(value):
    """Zero in the place of a number whose square is not a normal one."""
    return value if abs(value) > 1e-150 else 0.0


@settings(deadline=None, max_examples=200)
@given(
    bound=st.floats(1e-6, 1e6),
    values=st.lists(
        st.floats(-1.0, 1.0).map(squared_in_range), min_size=1, max_size=40
    ),
    longer=st.floats(0.0, 1e-3),
)
def test_no_record_is_longer_than_the_radius(bound, values, longer):
    """Whatever rounding did to its clipped gradient; the length is counted."""
    grid = IntegerGrid(max_grad_norm=bound, noise_multiplier=1.0)
    part = torch.tensor(values, dtype=torch.float64)
    size = float(torch.linalg.vector_norm(part))
    if size > 0:
        part = part * (bound * (1 + longer) / size)
    whole = grid.cut([part])
    assert length(whole) <= grid.radius
    assert grid.radius * grid.step <= bound
    assert grid.sigma >= grid.noise_multiplier * grid.radius
    if longer == 0 and size > 0:
        off = part - whole[0].double() * grid.step
        assert float(off.abs().max()) <= grid.step + 3 * 2.0**-12 * bound


def test_every_neighbour_moves_the_whole_number_sum_by_at_most_the_radius(model):
    """Exactly: no tolerance, for the neighbours that catch most mistakes."""
    for weights in ([1e4] * 4, [0.0] * 4, [1e-6, 1e6, 1e-6, 1e6], [1e6, -1e6, 1e6, 1]):
        rows = contract.make_rows(4, 2, weights)
        whole = contract.run(GridEngine(GRID), model, rows, 4)
        for b in range(4):
            less = contract.run(
                GridEngine(GRID), model, contract.without(rows, 4, b), 3
            )
            moved = [
                ((x - y) / GRID.step).to(torch.int64)
                for x, y in zip(whole, less, strict=True)
            ]
            assert length(moved) <= GRID.radius


def test_the_sum_is_that_of_the_other_engines_up_to_a_step_a_record(model):
    rows = contract.make_rows(3, 2, [1.0, 30.0, 0.01])
    found = contract.run(GridEngine(GRID), model, rows, 3)
    plain = contract.run(engine("loop"), model, rows, 3)
    for one, other in zip(found, plain, strict=True):
        assert float((one - other).abs().max()) <= 3 * (GRID.step + 2.0**-12 * C)


def test_how_the_records_are_split_changes_no_bit(model):
    """Whole numbers add up the same in any order."""
    rows = contract.make_rows(5, 2, [1.0, 3.0, 9.0, 27.0, 81.0])
    sums = [
        accumulate(
            GridEngine(GRID),
            model,
            contract.row_loss,
            split_records(rows, records=5, physical_batch_size=size),
            noise_multiplicity=2,
            clipping=Clipping(max_grad_norm=C),
        )
        for size in (1, 2, 5)
    ]
    for other in sums[1:]:
        assert all(torch.equal(a, b) for a, b in zip(sums[0], other, strict=True))


def test_records_without_a_finite_norm_count_as_zero(model):
    rows = contract.make_rows(3, 1, [1.0, 5.0, 2.0])
    rows[0][1] = math.nan
    found = contract.run(GridEngine(GRID), model, rows, 3)
    rest = contract.run(GridEngine(GRID), model, contract.without(rows, 3, 1), 2)
    assert all(torch.equal(a, b) for a, b in zip(found, rest, strict=True))


def test_the_noise_is_of_the_planned_scale_and_in_whole_steps():
    zeros = [torch.zeros(30, 500, dtype=torch.float64), torch.zeros((), dtype=float)]
    stream = RandomSource().stream()
    one, single = noisy_grid_sum(zeros, stream=stream, grid=GRID)
    steps_of = (one / GRID.step).flatten()
    assert torch.equal(steps_of, steps_of.round())
    assert abs(float(one.std()) / (GRID.sigma * GRID.step) - 1) < 6 / (2 * 15e3) ** 0.5
    assert GRID.sigma * GRID.step == pytest.approx(Z * C, rel=2.0**-14)
    assert single.shape == ()


def test_a_sum_off_the_grid_and_too_many_parameters_are_refused(monkeypatch, model):
    stream = RandomSource().stream()
    with pytest.raises(ParameterError, match="whole steps"):
        noisy_grid_sum([torch.tensor([0.1])], stream=stream, grid=GRID)
    with pytest.raises(ParameterError, match="100,000") as refusal:
        noisy_grid_sum([torch.zeros(100_001)], stream=stream, grid=GRID)
    assert "adapter" in refusal.value.hint
    rows = contract.make_rows(1, 1)
    adaptive = Clipping(max_grad_norm=C, kind="adaptive")
    for clipping in (adaptive, Clipping(max_grad_norm=2 * C)):
        with pytest.raises(ParameterError, match="fixed C"):
            contract.run(GridEngine(GRID), model, rows, 1, clipping)
    monkeypatch.setattr(integer_grid, "MAX_PARAMETERS", 10)
    with pytest.raises(ParameterError, match="trainable parameters"):
        contract.run(GridEngine(GRID), model, rows, 1)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, 1e3])
def test_a_noise_the_grid_cannot_hold_is_refused(bad):
    with pytest.raises(ParameterError):
        IntegerGrid(max_grad_norm=1.0, noise_multiplier=bad)


def test_a_private_step_on_the_grid_releases_whole_steps(small_plan, digits):
    """End to end: Poisson batch, one vector a record, exact noise, constant divisor."""
    options = RunOptions()
    learner = new_learned(small_plan, options).parts[SHARED]
    phase = small_plan.private_phases[0]
    base = mechanism_of(phase)
    grid = IntegerGrid(
        max_grad_norm=base.clipping.max_grad_norm,
        noise_multiplier=base.noise_multiplier,
    )
    seen = []
    learner.optimiser.step = lambda: seen.extend(
        p.grad.double() for p in learner.network.parameters()
    )
    mechanism = replace(base, grid=grid, expected_batch_size=64.0, sample_rate=0.005)
    private_step(
        learner,
        digits,
        mechanism=mechanism,
        loss=loss_of(small_plan, small_plan.intervals(Source.PRIVATE)),
        performance=performance_of(learner, options),
        random=RandomSource(),
        spend=lambda: None,
    )
    whole = np.concatenate([(64 * g / grid.step).flatten().numpy() for g in seen])
    # A float32 gradient keeps 24 bits: sums below 2^24 steps come through whole.
    assert np.array_equal(whole, np.round(whole))
    assert whole.std() == pytest.approx(grid.sigma, rel=0.0125)
    with pytest.raises(ParameterError, match="another noise multiplier"):
        replace(mechanism, noise_multiplier=2 * base.noise_multiplier)


def moments(sigma, shift, rate, order):
    """E_p[((1 - q) + q p_v / p)^k] and with the worlds swapped, from the lattice."""
    x = np.arange(-60 * sigma, 60 * sigma + 1).astype(np.longdouble)
    law = np.exp(-(x**2) / (2 * sigma**2))
    total = law.sum()
    moved = np.exp(-((x - shift) ** 2) / (2 * sigma**2)) / total
    law /= total
    mixed = (1 - rate) * law + rate * moved
    up = (law * (mixed / law) ** order).sum()
    down = (mixed * (law / mixed) ** order).sum()
    return [float(np.log(m) / (order - 1)) for m in (up, down)]


@pytest.mark.parametrize(("sigma", "shift"), [(1, 1), (3, 2), (8, 8)])
@pytest.mark.parametrize("rate", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("order", [2, 3, 8])
def test_at_whole_orders_the_lattice_costs_what_the_line_does(
    sigma, shift, rate, order
):
    """By summing over the lattice: equal one way, no larger the other way."""
    noise = sigma / shift
    event = (
        GaussianEvent(noise_multiplier=noise)
        if rate == 1.0
        else PoissonSampledGaussianEvent(sample_rate=rate, noise_multiplier=noise)
    )
    bound = renyi.divergence(event, float(order))
    up, down = moments(sigma, shift, rate, order)
    assert up == pytest.approx(bound, rel=1e-9)
    assert down <= bound * (1 + 1e-9)


def test_nothing_is_claimed_between_whole_orders():
    assert all(order == int(order) for order in discrete_cost.WHOLE_ORDERS)


def test_the_step_of_a_plan_in_whole_numbers_has_its_grid():
    """Float noise under a discrete event would be charged by another's proof."""
    wishes = Wishes(steps=5, sample_rate=0.05, arithmetic="discrete")
    (phase,) = make_plan(PlanRequest(target_epsilon=3.0, wishes=wishes)).private_phases
    grid = mechanism_of(phase).grid
    assert grid is not None
    assert grid.sigma >= phase.mechanism.noise_multiplier * grid.radius
    assert engine_name(RunOptions(), phase) == "loop"


def test_the_proven_epsilon_is_a_little_above_the_exact_one_of_the_line():
    run = SelfComposedEvent(
        event=PoissonSampledGaussianEvent(sample_rate=0.02, noise_multiplier=1.1),
        count=1000,
    )
    exact = accounting.epsilon(run, delta=1e-5).upper
    assert exact < discrete_cost.epsilon_upper(run, delta=1e-5) < 1.15 * exact
