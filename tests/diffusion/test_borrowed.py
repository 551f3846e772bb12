"""Networks of diffusers: read, held against autograd, tuned, and given back."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open

from diffusion import adopting, diffusers_folder, exporting, pretrained, run, sampling
from diffusion.blueprint import network_of
from diffusion.borrowed import BorrowedNetwork
from diffusion.denoisers import denoiser_of, loss_of
from diffusion.parts import whole
from diffusion.per_example import Clipping, engine
from diffusion.sampler import SamplerConfig
from diffusion.timesteps import Timesteps, TimestepUniform
from diffusion.watching import RunOptions
from privplan import borrowed, plan_size, reliance
from privplan import plan as plans
from privplan.errors import DataError, ParameterError, PolicyError
from privplan.planner import PlanRequest, TrainingWishes, Wishes, make_plan

diffusers = pytest.importorskip("diffusers")
models = pytest.importorskip("tests.diffusion.borrowed_models")

NAMES = tuple(models.MAKERS)
SAID = {"declared_by": "the data office", "data_name": "noise", "classes": 10}


@pytest.fixture(scope="module")
def adopted(tmp_path_factory):
    """A checkpoint of each network, by its name."""
    base, found = tmp_path_factory.mktemp("borrowed"), {}
    for name in NAMES:
        models.saved(base / name, name)
        adopting.adopt(base / name, base / f"{name}-taken", **SAID)
        found[name] = pretrained.load(base / f"{name}-taken")
    return found


def plan_from(weights, tune="all", **wanted):
    wishes = Wishes(
        steps=2, sample_rate=0.02, noise_multiplicity=2, pretrained=weights.document
    )
    training = TrainingWishes(tune=tune, **wanted)
    return make_plan(PlanRequest(target_epsilon=3.0, wishes=wishes, training=training))


def rows_of(plan, records, draws):
    """Rows as the loss of a plan draws them, from a seed."""
    generator = torch.Generator().manual_seed(3)
    count = records * draws
    clean = 2 * torch.rand(records, 1, 8, 8, generator=generator).repeat(draws, 1, 1, 1)
    sigma = loss_of(plan, whole(plan)).law.sample(count, generator=generator)
    noise = torch.randn(clean.shape, generator=generator)
    labels = torch.arange(records).repeat(draws)
    return clean - 1, clean - 1 + sigma[:, None, None, None] * noise, sigma, labels


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["auto", "vmap"])
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_the_gradient_of_each_record_is_that_of_autograd(adopted, name, kind):
    """Every library has failed here silently; attention feeds convolutions strides
    that they do not expect."""
    plan = plan_from(adopted[name])
    network, row_loss = network_of(plan), loss_of(plan, whole(plan)).row_loss
    network.net.load_state_dict(
        {n[4:]: t for n, t in adopted[name].tensors.items() if n.startswith("net.")}
    )
    records, draws = 3, 2
    rows = rows_of(plan, records, draws)
    trained = list(network.parameters())
    one_by_one = []
    for record in range(records):
        own = tuple(row[record::records] for row in rows)
        found = torch.autograd.grad(row_loss(network, own).mean(), trained)
        one_by_one.append(torch.cat([g.flatten() for g in found]))
    bound = 0.5 * min(float(g.norm()) for g in one_by_one)
    truth = sum(g * (bound / g.norm()) for g in one_by_one)
    chosen = engine(kind)
    got = chosen.clipped_sum(
        network, row_loss, rows, records=records, noise_multiplicity=draws,
        clipping=Clipping(max_grad_norm=bound),
    )  # fmt: skip
    flat = torch.cat([g.flatten() for g in got])
    # 1e-5: float32 sums of at most some thousand terms keep six digits.
    assert float((flat - truth).norm()) <= 1e-5 * float(truth.norm())
    assert chosen.name == ("folded" if kind == "auto" else "vmap")


def test_the_plan_counts_what_the_library_builds(adopted):
    for name in NAMES:
        plan = plan_from(adopted[name])
        built = sum(p.numel() for p in network_of(plan).parameters())
        assert plan_size.all_parameters(plan.data, plan.training) == built
        assert plans.from_text(plans.to_text(plan).encode()) == plan


@pytest.mark.parametrize(
    ("name", "tune", "words"),
    [pytest.param("unet", "attention+embedding", ("attentions", "_embedding"),
                  marks=pytest.mark.slow),
     pytest.param("conditioned", "lora:2@attention", (), marks=pytest.mark.slow),
     ("dit", "film", ("norm1.linear", "proj_out_1"))],
)  # fmt: skip
def test_what_is_not_tuned_keeps_its_bits_and_goes_back_to_diffusers(
    adopted, digits, tmp_path, name, tune, words
):
    """From a folder of diffusers through a private run to a folder of diffusers; the
    network that diffusers loads answers what ours answers."""
    weights = adopted[name]
    plan = plan_from(weights, tune)
    folder, out = tmp_path / "run", tmp_path / "out"
    assert run.train(
        plan, digits, folder, options=RunOptions(pretrained=weights)
    ).finished
    facts = {"plan_sha256": plan.digest, "differential_privacy": '{"epsilon": 3.0}'}
    exporting.export(plan, folder, out, form="diffusers", facts=facts, card="# Card")
    with safe_open(out / diffusers_folder.WEIGHTS, framework="pt") as file:
        given = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
        assert file.metadata()["plan_sha256"] == plan.digest
    assert (out / "README.md").read_text() == "# Card"
    changed = {
        n for n, t in given.items() if not torch.equal(t, weights.tensors[f"net.{n}"])
    }
    if words:
        assert changed
        assert all(any(word in n for word in words) for n in changed)
    else:
        assert {n.split(".")[-2] for n in changed} <= {"to_q", "to_k", "to_v", "0"}

    kind = getattr(diffusers, plan.training.network.kind)
    again = kind.from_pretrained(out, local_files_only=True, use_safetensors=True)
    ours = network_of(plan)
    theirs = BorrowedNetwork(again, plan.training.network.kind, ours.config)
    if theirs.token is not None:
        with safe_open(out / exporting.TOKEN, framework="pt") as file:
            theirs.token.load_state_dict({"weight": file.get_tensor("weight")})
    asked = SamplerConfig(
        steps=3, sigma_min=plan.training.sigma_min, sigma_max=plan.training.sigma_max
    )
    drawn = sampling.draw(
        plan, folder, sampling.SampleRequest(count=4, seed=1, sampler=asked)
    )
    labels = drawn.labels
    once_more = sampling.sample(
        denoiser_of(plan, {"shared": theirs.eval()}),
        labels=labels, shape=(1, 8, 8), config=asked,
        generator=sampling.RandomSource(unsafe_seed=1).generator(),
    )  # fmt: skip
    assert torch.equal(sampling._bytes(once_more), drawn.images)


def test_a_report_says_that_nobody_here_saw_what_the_weights_learned_from(adopted):
    said = reliance.relied_on(plan_from(adopted["dit"]))["pretrained-weights"]
    assert "noise, which only those saw who trained the weights" in said
    assert "declared public by the data office" in said
    assert adopted["dit"].document.phases[0].weights_digest in said


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("betas", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_sigma_and_timestep_mean_what_they_mean_to_the_library(betas, prediction):
    """A schedule read wrongly trains without complaint, at the wrong noise."""
    theirs = diffusers.DDIMScheduler(
        num_train_timesteps=50, beta_schedule=betas, beta_start=0.001, beta_end=0.1,
        prediction_type=prediction, clip_sample=False,
    )  # fmt: skip
    schedule = diffusers_folder.schedule_of(dict(theirs.config))
    ours = Timesteps(levels=borrowed.sigmas(schedule), prediction=prediction)
    at = torch.tensor([0, 1, 20, 48, 49])
    alphas = theirs.alphas_cumprod[at].double()
    sigma = ((1 - alphas) / alphas).sqrt()
    # 2e-4: theirs multiplies in float32, and the last step of a cosine leaves 1e-6.
    levels = torch.tensor(ours.levels, dtype=torch.float64)
    assert torch.allclose(levels[at], sigma, rtol=2e-4)
    assert torch.allclose(ours.c_noise(levels[at]), at.double(), atol=1e-9)

    clean, noise = torch.randn(
        2, 5, 1, 2, 2, generator=torch.Generator().manual_seed(0)
    )
    noisy = theirs.add_noise(clean, noise, at)
    answer = {
        "epsilon": noise,
        "sample": clean,
        "v_prediction": theirs.get_velocity(clean, noise, at)
        if hasattr(theirs, "get_velocity")
        else noise,
    }[prediction]
    level = sigma.float()[:, None, None, None]
    x = clean + level * noise
    assert torch.allclose(ours.c_in(level) * x, noisy, atol=1e-5)
    found = ours.c_skip(level) * x + ours.c_out(level) * answer
    # relative to sigma: at sigma 100 the image is a difference of large numbers
    assert float(((found - clean) / (1 + level)).abs().max()) <= 1e-5


def test_the_timestep_is_drawn_uniformly():
    levels = borrowed.sigmas(
        borrowed.PlanSchedule(
            timesteps=20, betas="linear", beta_start=0.01, beta_end=0.2,
            prediction="epsilon",
        )
    )  # fmt: skip
    law = TimestepUniform(intervals=((levels[0], levels[-1]),), levels=levels)
    at = torch.linspace(0, 1, 77, dtype=torch.float64)
    assert torch.allclose(law.cdf(law.quantile(at)), at, atol=1e-9)
    assert torch.allclose(law.warp(law.quantile(at)), 19 * at, atol=1e-9)


def refusal(folder, tmp_path, error, **said):
    with pytest.raises(error) as found:
        adopting.adopt(folder, tmp_path / "out", **(SAID | said))
    assert not (tmp_path / "out").exists()
    return found.value


def test_an_autoencoder_is_no_denoiser_and_the_cure_is_named(tmp_path):
    net = diffusers.AutoencoderKL(block_out_channels=(8,), norm_num_groups=4)
    net.save_pretrained(tmp_path / "vae")
    found = refusal(tmp_path / "vae", tmp_path, ParameterError)
    assert "AutoencoderKL" in found.message
    assert "--autoencoder" in found.hint


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [("addition_embed_type", "text_time", "addition_embed_type = text_time"),
     ("time_embedding_type", "fourier", "time_embedding_type = fourier"),
     ("sample_size", None, "size of its images"),
     ("out_channels", 3, "takes 1 channels and answers 3"),
     ("num_class_embeds", 7, "made for 7 classes, not for 10")],
)  # fmt: skip
def test_what_cannot_be_trained_here_is_refused_by_name(tmp_path, field, value, said):
    folder = models.saved(tmp_path / "net")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    assert said in refusal(folder, tmp_path, ParameterError).message


def test_folders_that_are_not_whole_are_refused(tmp_path):
    folder = models.saved(tmp_path / "net")
    weights = folder / diffusers_folder.WEIGHTS
    whole_file = weights.read_bytes()
    weights.write_bytes(whole_file[:-8])
    assert "damaged" in refusal(folder, tmp_path, DataError).message
    weights.unlink()
    (folder / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    assert "safetensors" in refusal(folder, tmp_path, DataError).hint
    weights.write_bytes(whole_file)
    (folder / "scheduler_config.json").unlink()
    assert "scheduler_config" in refusal(folder, tmp_path, DataError).message
    assert "is no folder" in refusal(tmp_path / "none", tmp_path, DataError).message


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
     ({"trained_betas": [0.1, 0.2]}, "trained_betas"),
     ({"beta_schedule": "sigmoid"}, "beta_schedule = sigmoid"),
     ({"prediction_type": "flow"}, "prediction_type = flow")],
)  # fmt: skip
def test_a_schedule_that_is_not_understood_is_refused(tmp_path, scheduler, said):
    folder = models.saved(tmp_path / "net", scheduler=scheduler)
    assert said in refusal(folder, tmp_path, ParameterError).message


def test_a_layer_that_mixes_records_is_refused_by_name(adopted):
    """Whatever builds it: one record would move another's gradient."""
    plan = plan_from(adopted["unet"])
    network = network_of(plan)
    network.net.conv_norm_out = torch.nn.BatchNorm2d(8)
    with pytest.raises(ParameterError, match=r"net\.conv_norm_out.*BatchNorm2d") as no:
        engine("auto").clipped_sum(
            network, loss_of(plan, whole(plan)).row_loss, rows_of(plan, 2, 1),
            records=2, noise_multiplicity=1, clipping=Clipping(max_grad_norm=1.0),
        )  # fmt: skip
    assert "GroupNorm" in no.value.hint


def test_another_network_than_the_plan_describes_is_not_trained(adopted):
    """Another version of the library may build another network of the same words."""
    plan = plan_from(adopted["dit"])
    network = plan.training.network
    fewer = network.model_copy(update={"layers": network.layers[:-1]})
    training = plan.training.model_copy(update={"network": fewer})
    with pytest.raises(PolicyError, match="another DiTTransformer2DModel"):
        network_of(plan.model_copy(update={"training": training}))


def test_building_a_network_leaves_the_random_state_alone(adopted):
    """Else a public seed would make DP noise predictable."""
    plan = plan_from(adopted["unet"])
    before = torch.random.get_rng_state()
    first = network_of(plan).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    again = network_of(plan).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())


def test_a_pipeline_folder_is_read_too(tmp_path):
    folder = models.saved(tmp_path / "pipe" / "unet")
    (tmp_path / "pipe" / "scheduler").mkdir()
    shutil.move(folder / "scheduler_config.json", tmp_path / "pipe" / "scheduler")
    assert diffusers_folder.read(tmp_path / "pipe").kind == "UNet2DModel"


def test_classes_for_a_network_that_cannot_be_told_one_are_refused(tmp_path):
    """Its samples would carry labels, and the same image for each of them."""
    network = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"), norm_num_groups=4,
        layers_per_block=1,
    )  # fmt: skip
    network.save_pretrained(tmp_path / "unet")
    diffusers.DDPMScheduler().save_pretrained(tmp_path / "unet")
    said = {"declared_by": "x", "data_name": "y"}
    with pytest.raises(ParameterError, match="cannot be told a class"):
        adopting.adopt(tmp_path / "unet", tmp_path / "ten", classes=10, **said)
    assert not (tmp_path / "ten").exists()
    adopting.adopt(tmp_path / "unet", tmp_path / "one", classes=1, **said)
