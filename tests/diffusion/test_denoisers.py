import pytest
import torch

from diffusion.blueprint import network_of
from diffusion.denoisers import by_sigma, denoiser_of, loss_of
from diffusion.gaussian_query import query
from diffusion.noise_levels import LogNormal, LogUniform, VpUniform, VUniform
from diffusion.per_example import Clipping, engine
from diffusion.queries import prior_config, prior_of
from privplan import plan as plans
from privplan.errors import DataError, ParameterError


def constant(value):
    return lambda x, _sigma, _labels: torch.full_like(x, value)


@pytest.fixture(scope="module")
def prior(kinds, digits):
    """The prior of the digits without noise: enough to see who answers."""
    plan = kinds["sequential"]
    (phase,) = plan.phases_of(plans.GaussianPhase)
    answer = query(*digits.batch(torch.arange(400)), prior_config(plan, phase))
    return prior_of(plan, {"gaussian": answer[None]})


def test_each_sigma_is_answered_by_the_interval_it_lies_in():
    joined = by_sigma([(3.0, constant(3)), (0.1, constant(1)), (1.0, constant(2))])
    sigma = torch.tensor([0.05, 0.1, 0.99, 1.0, 2.9, 3.0, 80.0])
    x, labels = torch.zeros(7, 1, 2, 2), torch.zeros(7, dtype=torch.int64)
    assert joined(x, sigma, labels)[:, 0, 0, 0].tolist() == [1, 1, 1, 2, 2, 3, 3]


def test_a_denoiser_that_is_not_asked_cannot_spoil_an_answer():
    """A network that overflows at sigmas it was never trained at gives NaN there."""
    joined = by_sigma([(0.1, constant(1)), (1.0, constant(float("nan")))])
    x, labels = torch.zeros(2, 1, 2, 2), torch.tensor([0, 0])
    found = joined(x, torch.tensor([0.5, 5.0]), labels)
    assert found[0].unique().tolist() == [1]


def test_no_denoiser_at_all_is_refused():
    with pytest.raises(ParameterError):
        by_sigma([])


@pytest.mark.parametrize(
    ("name", "law"),
    [("edm", LogNormal), ("v", VUniform), ("vp", VpUniform), ("ve", LogUniform)],
)
def test_a_parameterisation_brings_its_law_inside_the_sigmas_of_the_plan(
    name, law, small
):
    plan = small("coarse=private@2,context=private", parameterisation=name)
    loss = loss_of(plan, ((0.1, 0.3), (2.0, 50.0)))
    assert type(loss.law) is law
    drawn = loss.law.sample(2000, generator=torch.Generator().manual_seed(0))
    inside = ((drawn >= 0.1) & (drawn <= 0.3)) | ((drawn >= 2.0) & (drawn <= 10.0))
    assert bool(inside.all())
    assert bool((drawn < 1).any() & (drawn > 1).any())


def test_the_best_possible_network_has_the_same_loss_as_its_denoiser(small, digits):
    """Loss and denoiser must agree on what the network's output means: weight times
    the squared error of D is the loss, at every sigma and in every parameterisation.

    1e-4: float32.
    """
    clean, labels = digits.batch(torch.arange(16))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    for name in ("edm", "v", "vp", "ve"):
        plan = small("coarse=private@2,context=private", parameterisation=name)
        network = network_of(plan)
        denoise = denoiser_of(plan, {"shared": network})
        for level in (0.05, 0.8, 7.0):
            sigma = torch.full((16,), level)
            noisy = clean + level * noise
            with torch.no_grad():
                rows = (clean, noisy, sigma, labels)
                loss = loss_of(plan, ((0.02, 10.0),)).row_loss(network, rows)
                error = (denoise(noisy, sigma, labels) - clean).square()
            ratio = loss / error.mean(dim=(1, 2, 3))
            torch.testing.assert_close(
                ratio, ratio[0].expand_as(ratio), rtol=1e-4, atol=0
            )


def test_gaussian_stages_are_answered_by_the_query_alone(kinds, prior):
    plan = kinds["sequential"]
    denoise = denoiser_of(plan, {"shared": network_of(plan)}, prior)
    x, labels = torch.randn(3, 1, 8, 8), torch.tensor([1, 2, 10])
    for level in (1.0, 4.0):
        sigma = torch.full((3,), level)
        assert torch.equal(denoise(x, sigma, labels), prior.denoise(x, sigma, labels))


def test_a_network_that_corrects_a_prior_is_useless_without_it(kinds):
    plan = kinds["sequential"]
    with pytest.raises(DataError, match="missing"):
        loss_of(plan, ((0.1, 0.3),))
    with pytest.raises(DataError, match="missing"):
        denoiser_of(plan, {"shared": network_of(plan)})


@pytest.mark.parametrize("name", ["folded", "vmap"])
def test_engines_agree_on_a_network_that_corrects_a_prior(name, kinds, prior, digits):
    """A record's gradient through the prior, by two routes.

    1e-4: float32 sums over records and pixels.
    """
    plan = kinds["sequential"]
    network = network_of(plan)
    with torch.no_grad():
        network.conv_out.weight.normal_(generator=torch.Generator().manual_seed(0))
    loss = loss_of(plan, ((0.2, 1.0),), prior)
    clean, labels = digits.batch(torch.arange(4))
    generator = torch.Generator().manual_seed(1)
    rows = trainer_rows(clean, labels, loss, generator)
    sums = [
        engine(which).clipped_sum(
            network,
            loss.row_loss,
            rows,
            records=4,
            noise_multiplicity=2,
            clipping=Clipping(max_grad_norm=0.2),
        )
        for which in (name, "loop")
    ]
    for one, other in zip(*sums, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def trainer_rows(clean, labels, loss, generator):
    from diffusion.loss import draw_rows

    return draw_rows(
        clean,
        labels,
        noise_multiplicity=2,
        law=loss.law,
        label_dropout=0.0,
        null_label=10,
        generator=generator,
    )
