"""Averaged weights: against the closed form, and always given back."""

import pytest
import torch
from torch import nn

from diffusion.ema import Ema
from privplan.errors import DocumentError, ParameterError


def _set(model, value):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


def _walk(decay, values):
    model = nn.Linear(2, 1)
    _set(model, values[0])
    ema = Ema(model, decay)
    for value in values[1:]:
        _set(model, value)
        ema.update()
    return model, ema


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.95])
def test_the_average_is_the_weighted_sum_of_all_weights(decay):
    """The recursion unrolled: weight_i (1 - d_i) prod_{j > i} d_j."""
    values = [3.0, -1.0, 4.0, 1.5, -5.0, 9.0]
    decays = [min(decay, (1 + n) / (10 + n)) for n in range(1, len(values))]
    factors = [1.0] + [1 - d for d in decays]
    truth = 0.0
    for i, value in enumerate(values):
        product = factors[i]
        for later in decays[i:]:
            product *= later
        truth += product * value
    _, ema = _walk(decay, values)
    for average in ema.averaged().values():
        # float32, six steps
        assert average.flatten().tolist() == pytest.approx(
            [truth] * average.numel(), rel=1e-5
        )


def test_a_constant_model_averages_to_itself():
    """Weights of an average that do not add up to one shrink the network."""
    _, ema = _walk(0.9, [2.0] * 30)
    assert all(bool((t - 2.0).abs().max() < 1e-5) for t in ema.averaged().values())


def test_the_models_own_weights_come_back_also_after_an_error():
    """Training on from averaged weights by accident would be another algorithm."""
    model, ema = _walk(0.5, [0.0, 8.0])
    with ema.swapped() as averaged:
        assert averaged is model
        assert bool((model.weight < 8.0).all())
    assert bool((model.weight == 8.0).all())
    with pytest.raises(KeyError), ema.swapped():
        raise KeyError
    assert bool((model.weight == 8.0).all())


def test_averaging_leaves_the_model_alone():
    model, ema = _walk(0.5, [0.0, 8.0])
    ema.averaged()["weight"].fill_(99.0)
    ema.state()["average.weight"].fill_(99.0)
    assert bool((model.weight == 8.0).all())
    assert bool((ema.averaged()["weight"] < 9.0).all())


def test_a_state_continues_where_it_was_taken():
    """A resumed run must average as an uninterrupted one would."""
    values = [1.0, 5.0, -2.0, 7.0]
    _, whole = _walk(0.9, [*values, 3.0])
    _, first = _walk(0.9, values)
    model = nn.Linear(2, 1)
    resumed = Ema(model, 0.9)
    resumed.load_state(first.state())
    _set(model, 3.0)
    resumed.update()
    assert resumed.updates == whole.updates
    for name, average in whole.averaged().items():
        torch.testing.assert_close(resumed.averaged()[name], average)


def test_a_state_of_another_network_is_refused_and_changes_nothing():
    _, ema = _walk(0.9, [1.0, 5.0])
    before = ema.averaged()
    for other in (nn.Linear(3, 1), nn.Conv2d(1, 1, 1)):
        with pytest.raises(DocumentError):
            ema.load_state(Ema(other, 0.9).state())
    assert all(torch.equal(before[name], t) for name, t in ema.averaged().items())


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_an_impossible_decay_is_refused(decay):
    with pytest.raises(ParameterError):
        Ema(nn.Linear(1, 1), decay)
