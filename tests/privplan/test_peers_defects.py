"""Defects of the libraries beside us, pinned.

Each test states what a library answers, and what is true. It fails on the day an
upgrade changes the answer: then what a second opinion is worth has changed, and so may
`opinions.left_out`. None of these numbers reaches a claim of ours.
"""

import math

import dp_accounting
import mpmath
import pytest
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from privplan import accounting, opinions, renyi
from privplan.errors import ParameterError
from privplan.events import (
    GaussianEvent,
    PoissonSampledGaussianEvent,
    RandomizedResponseEvent,
    SelfComposedEvent,
)

noisy = pytest.mark.filterwarnings("ignore")  # Opacus warns of itself

REPLACE = dp_accounting.NeighboringRelation.REPLACE_ONE


def sgd(rate, noise, steps):
    step = PoissonSampledGaussianEvent(sample_rate=rate, noise_multiplier=noise)
    return SelfComposedEvent(event=step, count=steps)


def foreign(rate, noise):
    inner = dp_accounting.GaussianDpEvent(noise)
    return dp_accounting.PoissonSampledDpEvent(rate, inner)


def test_dp_accounting_forgets_the_count_of_randomised_response():
    """4 runs cost 1.099 instead of 4.395; we compose it ourselves."""
    event = dp_accounting.RandomizedResponseDpEvent(0.5, 2)
    at_once = PLDAccountant(neighboring_relation=REPLACE).compose(event, 4)
    one_by_one = PLDAccountant(neighboring_relation=REPLACE)
    for _ in range(4):
        one_by_one.compose(event)
    assert at_once.get_epsilon(1e-9) == pytest.approx(1.099, abs=0.01)
    assert one_by_one.get_epsilon(1e-9) == pytest.approx(4.395, abs=0.01)
    ours = SelfComposedEvent(
        event=RandomizedResponseEvent(epsilon=math.log(3)), count=4
    )
    # The grid rounds each single loss up to a step of 1e-4.
    assert accounting.epsilon(ours, delta=1e-9).upper == pytest.approx(4.395, abs=1e-3)


def test_dp_accounting_has_no_exponential_mechanism_whose_count_it_could_forget():
    """Its next version has one, and RdpAccountant ignores its count."""
    assert not hasattr(dp_accounting, "ExponentialMechanismDpEvent")


def test_dp_accounting_rdp_forgets_to_double_for_replace_one():
    """RDP bounds from above, yet answers 4.73 where PLD answers 10.00."""
    event = dp_accounting.GaussianDpEvent(1.0)
    rdp = RdpAccountant(neighboring_relation=REPLACE).compose(event)
    pld = PLDAccountant(neighboring_relation=REPLACE).compose(event)
    assert rdp.get_epsilon(1e-5) == pytest.approx(4.73, abs=0.01)
    assert pld.get_epsilon(1e-5) == pytest.approx(10.00, abs=0.01)


@pytest.mark.parametrize(
    "event",
    [dp_accounting.GaussianDpEvent(math.nan), foreign(0.1, math.nan)],
    ids=["gaussian", "sampled"],
)
def test_dp_accounting_rdp_calls_a_noise_of_nan_perfectly_private(event):
    """Our values refuse NaN before any engine sees it."""
    assert RdpAccountant().compose(event).get_epsilon(1e-5) == 0
    for make in (
        lambda z: GaussianEvent(noise_multiplier=z),
        lambda z: PoissonSampledGaussianEvent(sample_rate=0.1, noise_multiplier=z),
    ):
        with pytest.raises(ParameterError, match="noise_multiplier is nan"):
            make(math.nan)


def test_dp_accounting_pld_is_below_the_truth_under_its_rounding_noise():
    """It is not asked there: 'pessimistic' 1.9985 where the truth is 2.0000."""
    event = sgd(1e-2, 4.829450, 2 * 10**4)
    assert "dp-accounting" in opinions.left_out(event, delta=1e-12)
    peer = PLDAccountant().compose(foreign(1e-2, 4.829450), 2 * 10**4)
    assert peer.get_epsilon(1e-12) < accounting.epsilon(event, delta=1e-12).lower


@pytest.mark.slow
def test_dp_accounting_pld_is_below_the_truth_on_a_long_run():
    """'Pessimistic' 7.9745 where the truth is 8.0000; we leave it out there."""
    event = sgd(1e-4, 0.455713, 10**5)
    peer = PLDAccountant().compose(foreign(1e-4, 0.455713), 10**5)
    assert peer.get_epsilon(1e-10) < accounting.epsilon(event, delta=1e-10).lower
    assert "dp-accounting" in opinions.left_out(event, delta=1e-10)


def test_dp_accounting_rdp_drops_the_signs_of_a_series_between_whole_orders():
    """Valid but loose: 0.0001118 for 0.0001054 at order 1.25, or even infinite."""
    order, q, s = 1.25, 0.01, 1.0
    theirs = RdpAccountant([order]).compose(foreign(q, s))._rdp[0]

    def integrand(y):
        return mpmath.npdf(y) * ((1 - q) + q * mpmath.exp((y - 0.5 / s) / s)) ** order

    truth = mpmath.log(mpmath.quad(integrand, [-12, 0, 12])) / (order - 1)
    ours = renyi.divergence(
        PoissonSampledGaussianEvent(sample_rate=q, noise_multiplier=s), order
    )
    assert ours == pytest.approx(float(truth), rel=1e-6)
    assert theirs == pytest.approx(1.061 * ours, rel=1e-3)
    assert RdpAccountant([order]).compose(foreign(0.2, 0.7))._rdp[0] == math.inf


def opacus_epsilon(kind, rate, noise, steps, delta):
    """Ask one of Opacus's accountants, as its engine would."""
    from opacus import accountants

    accountant = getattr(accountants, kind)()
    accountant.history = [(noise, rate, steps)]
    return accountant.get_epsilon(delta)


@noisy
@pytest.mark.parametrize(
    ("rate", "noise", "steps", "delta", "said"),
    [
        (1e-4, 0.455713, 10**5, 1e-10, 2.1234),
        (0.0683, 2.380248, 4394, 1e-5, 9.9307),
    ],
)
def test_opacus_gdp_is_below_the_truth(rate, noise, steps, delta, said):
    """A central limit stands in for a bound: 2.12 for 8.00 at rare sampling."""
    found = opacus_epsilon("GaussianAccountant", rate, noise, steps, delta)
    assert found == pytest.approx(said, abs=1e-3)
    assert found < accounting.epsilon(sgd(rate, noise, steps), delta=delta).lower


@noisy
def test_opacus_gdp_calls_a_noise_of_nan_perfectly_private():
    assert opacus_epsilon("GaussianAccountant", 0.1, math.nan, 10, 1e-5) == 0


@noisy
def test_opacus_rdp_cannot_reach_a_small_epsilon():
    """Its orders end at 63; ours and dp-accounting's go on."""
    from opacus.accountants.utils import get_noise_multiplier

    rate, delta = 64 / 1797, 1e-5
    with pytest.raises(ValueError, match="budget is too low"):
        get_noise_multiplier(
            target_epsilon=0.05,
            target_delta=delta,
            sample_rate=rate,
            steps=1000,
            accountant="rdp",
        )
    assert renyi.epsilon_upper(sgd(rate, 75.0, 1000), delta=delta) < 0.05


@noisy
def test_opacus_drops_a_step_an_epoch_to_rounding():
    """int(1 / (1/93)) is 92: the plan's steps are ours to count, not its loader's."""
    from opacus.utils.uniform_sampler import UniformWithReplacementSampler

    sampler = UniformWithReplacementSampler(num_samples=93, sample_rate=1 / 93)
    assert len(list(sampler)) == 92


@noisy
def test_opacus_changes_the_sample_rate_to_one_over_its_batches():
    """Asked for 16 of 103 it samples at 1/7, and says nothing."""
    import torch
    from opacus.data_loader import DPDataLoader
    from torch.utils.data import DataLoader, TensorDataset

    data = TensorDataset(torch.zeros(103, 2))
    loader = DPDataLoader.from_data_loader(DataLoader(data, batch_size=16))
    assert loader.sample_rate == 1 / 7
    assert loader.sample_rate < 16 / 103
