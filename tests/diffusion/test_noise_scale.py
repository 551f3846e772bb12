"""The noise of a step has the planned scale, whoever carried the step out.

Real processes meet over the loopback and take private steps of the real trainer on
empty batches, so that what each publishes is the noise alone. The sum of its squares,
over the planned variance, is chi-square with one degree of freedom for each value.

    pytest -m statistical -rP tests/diffusion/test_noise_scale.py     with the figures
"""

import sys

import pytest
from scipy.stats import chi2

from privplan import plan as plans
from privplan.planner import PlanRequest, Wishes, make_plan
from tests.diffusion.several_cases import carried_out, noted, shrunk

pytestmark = pytest.mark.statistical

STEPS = 100
MISSED = 1e-6  # how often one honest interval may miss the planned scale
FAULTS = ("noise per rank", "noise shared out")
HONEST = {f"N = {count}": {"count": count} for count in (1, 2, 3, 4)}
FAULTY = {
    f"{fault}, N = {count}": {"count": count, "fault": fault}
    for fault in FAULTS
    for count in (2, 3, 4)
}


def written(folder):
    """Write the plan whose noise is measured."""
    wishes = Wishes(steps=4, sample_rate=0.02, noise_multiplicity=2)
    stages = "coarse=private,context=private,cleaning=private"
    plan = make_plan(PlanRequest(target_epsilon=3.0, stages=stages, wishes=wishes))
    plans.write(shrunk(plan), folder / "plan.json")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What every case noted, by its name."""
    folder = tmp_path_factory.mktemp("noise")
    written(folder)
    cases = {name: case | {"steps": STEPS} for name, case in (HONEST | FAULTY).items()}
    return carried_out(cases, folder)[0]


def one(case, kind):
    """The number that all processes of a case noted alike."""
    ((first,), *others) = noted(case, kind)
    assert case["codes"] == [0] * case["count"]
    assert all(other == [first] for other in others)
    return float(first)


def interval(case):
    """Where the deviation lies, in units of the planned one, but for `MISSED`."""
    values, square = one(case, "values"), one(case, "square")
    total = values * square
    return tuple(
        (total / chi2.ppf(tail, values)) ** 0.5 for tail in (1 - MISSED / 2, MISSED / 2)
    )


def holds(name, case):
    """Whether the interval holds the planned scale; says what was measured."""
    low, high = interval(case)
    scale, values = one(case, "square") ** 0.5, int(one(case, "values"))
    sys.stdout.write(
        f"{name}: {scale:.5f} of the planned deviation, [{low:.5f}, {high:.5f}] "
        f"from {values:,} values\n"
    )
    return bool(low <= 1.0 <= high)


@pytest.mark.parametrize("name", HONEST)
def test_the_deviation_is_noise_multiplier_times_the_bound(name, found):
    """Half a percent would show: the interval is narrower than that on both sides."""
    low, high = interval(found[name])
    assert high - low < 0.01
    assert holds(name, found[name])


@pytest.mark.parametrize("name", FAULTY)
def test_noise_that_every_process_adds_is_outside(name, found):
    """All of it each: sqrt(N) too much. An Nth of it each: sqrt(N) too little.

    The second is the one that would break the promise without anybody noticing.
    """
    case = found[name]
    assert not holds(name, case)
    off = case["count"] ** (0.5 if case["fault"] == FAULTS[0] else -0.5)
    low, high = interval(case)
    assert low <= off <= high


@pytest.mark.parametrize("name", HONEST)
def test_the_noise_of_a_step_is_not_that_of_the_step_before(name, found):
    """Products of unlike noise average to zero; of the same noise to one.

    Five standard errors: the mean of n products has the deviation 1 / sqrt(n).
    """
    values = one(found[name], "values") * (STEPS - 1) / STEPS
    assert abs(one(found[name], "repeats")) < 5 / values**0.5
