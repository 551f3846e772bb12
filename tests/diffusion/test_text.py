"""Captions: read from columns, encoded by a frozen encoder, learned from privately."""

import dataclasses
import json
import shutil

import pytest
import torch

from diffusion import adopting, pipeline_parts, pretrained, run, sampling, text_encoder
from diffusion.adapters import load_plain
from diffusion.blueprint import mechanism_of, network_of, performance_of
from diffusion.data import PrivateImages, data_digest
from diffusion.denoisers import denoiser_of, loss_of
from diffusion.parts import new_learned, whole
from diffusion.per_example import Clipping, engine
from diffusion.randomness import RandomSource
from diffusion.readers.captions import FIRST, NONE, captioned
from diffusion.sampler import SamplerConfig
from diffusion.trainer import private_step
from diffusion.watching import RunOptions
from privplan import autoencoder, canonical, plan_size, reliance
from privplan import plan as plans
from privplan.errors import (
    DataError,
    DocumentError,
    ParameterError,
    PolicyError,
    StepFailedError,
)
from privplan.plan import PlanShape
from privplan.plan_phases import query_phases
from privplan.planner import (
    DeclaredData,
    PlanRequest,
    TrainingWishes,
    Wishes,
    make_plan,
)
from privplan.render_report import release

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
models = pytest.importorskip("tests.diffusion.borrowed_models")
texts = pytest.importorskip("tests.diffusion.text_models")

COUNT, SIDE = 24, 4
PAIRS = [(texts.SHADES[i % 2], texts.SHAPES[i // 2 % 3]) for i in range(COUNT)]
DATA = DeclaredData(
    records=COUNT, channels=1, height=SIDE, width=SIDE, classes=1, captions="caption"
)


def taken(base, encoder=texts.clip, **said):
    """A checkpoint of a network that reads captions."""
    models.saved(base / "unet", "reader", scheduler={"prediction_type": "sample"})
    texts.saved(base / "drawn-captions", encoder)
    source = pipeline_parts.TextSource(
        folder=base / "drawn-captions", data_name="captions that a program wrote"
    )
    adopting.adopt(
        base / "unet", base / "taken", declared_by="the data office",
        data_name="noise", **({"classes": None, "text": source} | said),
    )  # fmt: skip
    return pretrained.load(base / "taken")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return taken(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def reader(weights):
    known = weights.document.training.text
    return text_encoder.load(weights.folder / "text_encoder", known)


def records(said=None):
    """Pictures with captions that say what is on them."""
    pictures = torch.stack([texts.drawn(*pair, side=SIDE) for pair in PAIRS])
    pixels = ((pictures + 1) * 127.5).round().to(torch.uint8)
    labels, captions = captioned(said or [texts.caption(*pair) for pair in PAIRS])
    return PrivateImages(pixels, labels, 1, None, captions)


def plan_for(weights, *, data=DATA, epsilon=3.0, training=None, **wanted):
    wishes = {"steps": 2, "sample_rate": 0.25, "noise_multiplicity": 2} | wanted
    return make_plan(
        PlanRequest(
            target_epsilon=epsilon, data=data, training=training or TrainingWishes(),
            wishes=Wishes(pretrained=weights and weights.document, **wishes),
        )
    )  # fmt: skip


@pytest.mark.parametrize("make", [texts.clip, texts.t5])
def test_an_encoder_learns_from_public_captions_what_words_mean(make):
    """Two routes: the loss of a guess among six pairs, and what training reaches."""
    _, loss = texts.trained(make)
    assert loss < 0.9 * torch.tensor(6.0).log()


@pytest.mark.parametrize("kind", ["auto", "vmap"])
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_the_gradient_of_each_captioned_record_is_that_of_autograd(
    weights, reader, kind
):
    """Each record has its own caption, and one has none; a table row that leaked into
    another record's gradient would break the bound on what one record can do."""
    plan, draws = plan_for(weights), 2
    network, row_loss = network_of(plan), loss_of(plan, whole(plan)).row_loss
    network.load_state_dict(weights.tensors)
    text_encoder.read_captions(network, reader.table(["a dark disc", "a bright cross"]))
    picked = torch.tensor([FIRST, FIRST + 1, NONE])
    generator = torch.Generator().manual_seed(3)
    clean = torch.randn(3, 1, SIDE, SIDE, generator=generator).repeat(draws, 1, 1, 1)
    sigma = loss_of(plan, whole(plan)).law.sample(3 * draws, generator=generator)
    noise = torch.randn(clean.shape, generator=generator)
    noisy = clean + sigma[:, None, None, None] * noise
    rows = (clean, noisy, sigma, picked.repeat(draws))
    trained, alone = list(network.parameters()), []
    for record in range(3):
        own = tuple(row[record::3] for row in rows)
        found = torch.autograd.grad(row_loss(network, own).mean(), trained)
        alone.append(torch.cat([g.flatten() for g in found]))
    bound = 0.5 * min(float(g.norm()) for g in alone)
    truth = sum(g * (bound / g.norm()) for g in alone)
    got = engine(kind).clipped_sum(
        network, row_loss, rows, records=3, noise_multiplicity=draws,
        clipping=Clipping(max_grad_norm=bound),
    )  # fmt: skip
    flat = torch.cat([g.flatten() for g in got])
    # 1e-5: float32 sums of at most some thousand terms keep six digits.
    assert float((flat - truth).norm()) <= 1e-5 * float(truth.norm())
    assert not network.texts.requires_grad


# With next to no noise: what is looked at is whether captions are read at all.
LEARNS = {"epsilon": 1e5, "steps": 35, "sample_rate": 1.0, "learning_rate": 0.05}
PROMPTS = ("a bright disc", "a dark disc")


def sampler_of(plan):
    return SamplerConfig(
        steps=6, sigma_min=plan.training.sigma_min, sigma_max=plan.training.sigma_max
    )


def test_private_steps_teach_what_dark_and_bright_mean(weights, reader):
    """A table in the wrong order, or encodings that are not read, would not."""
    plan, options = plan_for(weights, **LEARNS), RunOptions(engine="folded")
    images, phase = records(), plan.private_phases[0]
    learned = new_learned(plan, options, text_encoder.of_records(reader, images))
    learner = learned.learner
    learner.learning_rate = phase.learning_rate
    load_plain(learner.network, weights.tensors)
    performance, loss = performance_of(learner, options), loss_of(plan, whole(plan))
    for seed in range(phase.steps):
        private_step(
            learner, images, mechanism=mechanism_of(phase), loss=loss,
            performance=performance, random=RandomSource(unsafe_seed=seed),
            spend=lambda: None,
        )  # fmt: skip
    network = learner.network.eval()
    network.load_state_dict(learner.ema.averaged())
    text_encoder.read_captions(network, reader.table(PROMPTS))
    drawn = sampling.sample(
        denoiser_of(plan, {"shared": network}),
        labels=FIRST + torch.arange(16) % 2, shape=(1, SIDE, SIDE),
        config=sampler_of(plan), generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    bright, dark = (float(drawn[i::2].clamp(-1, 1).mean()) for i in (0, 1))
    # In [-1, 1] the pictures' own means lie 1.4 apart.
    assert bright - dark > 0.7


@pytest.mark.slow
def test_samples_of_a_run_follow_the_prompt(weights, tmp_path):
    """The same through the doors that a user takes."""
    plan, folder = plan_for(weights, **LEARNS), tmp_path / "run"
    run.train(plan, records(), folder, options=RunOptions(pretrained=weights))
    request = sampling.SampleRequest(
        count=16, seed=1, guidance=1.0, prompts=PROMPTS, sampler=sampler_of(plan)
    )
    drawn = sampling.draw(plan, folder, request)
    bright, dark = (
        float(drawn.images[drawn.labels == i].float().mean()) for i in (0, 1)
    )
    # In 0..255 the pictures' own means lie 179 apart.
    assert bright - dark > 90
    assert drawn.prompts == PROMPTS


def test_no_file_of_a_run_holds_a_caption_or_its_encoding(weights, reader, tmp_path):
    said = [f"{texts.caption(*pair)} of XYZZY{i % 3}" for i, pair in enumerate(PAIRS)]
    images, folder = records(said), tmp_path / "run"
    plan = plan_for(weights)
    run.train(plan, images, folder, options=RunOptions(pretrained=weights))
    assert run.train(plan, images, folder, resume=True).finished
    held = reader.table(images.captions.texts)[FIRST:]
    public = reader.table(())
    own = held[(held[:, None] != public[None]).flatten(2).any(1).any(1)]
    assert len(own)
    needles = [b"XYZZY", data_digest(images).encode(), images.captions.digest.encode()]
    needles += [row.view(8, -1)[4, :4].numpy().tobytes() for row in own]
    for path in (p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        assert not any(needle in content for needle in needles), path
    shown = [repr(images), repr(images.captions), str(plan), repr(reader)]
    assert not any("XYZZY" in text for text in shown)


def test_the_digest_of_the_data_covers_every_caption():
    """Else a run could go on with other captions, under a commitment to the first."""
    images = records()
    said = [texts.caption(*pair) for pair in PAIRS]
    swapped = [said[1], said[0], *said[2:]]
    digests = {data_digest(one) for one in (images, records(swapped))}
    plain = PrivateImages(images.images, torch.zeros(COUNT, dtype=torch.int64), 1)
    assert len(digests | {data_digest(plain)}) == 3
    assert data_digest(images) == data_digest(records(said))


def test_guidance_and_dropout_show_the_empty_text(weights, reader):
    """The row that label dropout picks must be that of no caption, always."""
    plan = plan_for(weights)
    assert loss_of(plan, whole(plan)).null_label == NONE
    assert torch.equal(reader.table(["x"])[NONE], reader.encode([""])[0])
    assert not torch.equal(reader.table(())[0], reader.table(())[NONE])


def test_one_caption_does_not_move_the_encoding_of_another(reader):
    """Else a record would sit in what others are shown with, and cost more."""
    one, other = reader.table(["a dark disc", "b"]), reader.table(["a dark disc", "c"])
    # 1e-5: kernels may round differently beside other rows.
    assert torch.allclose(one[FIRST], other[FIRST], atol=1e-5)

    def mixing(said):
        found = reader.encode(said)
        return found - found.mean(dim=0, keepdim=True)

    with pytest.raises(ParameterError, match="depends on other captions"):
        text_encoder.check_captions_stay_apart(
            dataclasses.replace(reader, encode=mixing)
        )


def test_the_report_lists_the_text_encoder_among_what_the_claim_relies_on(weights):
    said = reliance.relied_on(plan_for(weights))["text-encoder"]
    known = weights.document.training.text
    assert known.encoder_digest in said
    assert "drawn-captions" in said
    assert "captions that a program wrote" in said
    assert "declared public by the data office" in said


def test_captions_cost_what_labels_cost_and_a_plan_is_read_as_written(weights):
    plan = plan_for(weights)
    plain = make_plan(
        PlanRequest(
            target_epsilon=3.0, data=dataclasses.replace(DATA, captions=None),
            wishes=Wishes(steps=2, sample_rate=0.25, noise_multiplicity=2),
        )
    )  # fmt: skip
    one, other = (p.private_phases[0].mechanism for p in (plan, plain))
    assert one == other
    assert plans.from_text(plans.to_text(plan).encode()) == plan
    built = sum(p.numel() for p in network_of(plan).parameters())
    assert plan_size.all_parameters(plan.data, plan.training) == built
    written = plain.model_dump(mode="json")
    assert "text" not in written["training"]
    assert "caption_column" not in written["data"]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [({"data": dataclasses.replace(DATA, captions=None)}, "no column holds any"),
     ({"queries": query_phases(["count:100"])}, "asks for classes"),
     ({"weights": None}, "nothing reads them")],
    ids=["column", "query", "encoder"],
)  # fmt: skip
def test_a_plan_that_does_not_fit_captions_is_refused(weights, wanted, said):
    with pytest.raises(ParameterError, match=said):
        plan_for(**({"weights": weights} | wanted))


def test_images_without_captions_do_not_go_beside_records_with_captions(weights):
    with pytest.raises(ParameterError, match="have no captions"):
        plan_for(weights, training=TrainingWishes(pretraining="synthetic"))


@pytest.mark.parametrize(
    ("where", "changed"),
    [("data", {"caption_column": None}), ("training", {"text": None}),
     ("training", {"text": {"width": 15}}), ("data", {"classes": 2})],
    ids=str,
)  # fmt: skip
def test_a_plan_written_by_hand_that_contradicts_itself_is_refused(
    weights, where, changed
):
    raw = json.loads(plans.to_text(plan_for(weights)))
    ((name, value),) = changed.items()
    if isinstance(value, dict):
        raw[where][name] |= value
    elif value is None:
        raw[where].pop(name)
    else:
        raw[where][name] = value
    raw.pop("digest")
    raw["digest"] = canonical.digest(raw)
    with pytest.raises(DocumentError, match="contradicts itself"):
        plans.from_text(json.dumps(raw).encode())


def test_only_the_encoder_of_the_plan_is_used(weights, tmp_path):
    plan, images = plan_for(weights), records()
    with pytest.raises(ParameterError, match="text encoder is not here"):
        run.train(plan, images, tmp_path / "a")
    copy = shutil.copytree(weights.folder, tmp_path / "copy")
    path = copy / "text_encoder" / "tokenizer.json"
    path.write_text(path.read_text().replace('"dark"', '"murk"'))
    changed = dataclasses.replace(weights, folder=copy)
    with pytest.raises(PolicyError, match="not the text encoder"):
        run.train(plan, images, tmp_path / "b", options=RunOptions(pretrained=changed))
    labels, captions = captioned(["x"] * COUNT, column="title")
    other = PrivateImages(images.images, labels, 1, None, captions)
    with pytest.raises(PolicyError, match="captions the plan declares"):
        run.train(plan, other, tmp_path / "c", options=RunOptions(pretrained=weights))
    assert not any((tmp_path / name).exists() for name in "abc")


def test_what_an_encoder_says_of_captions_is_withheld(reader):
    def broken(said):
        raise RuntimeError(said[0])

    loud = dataclasses.replace(reader, encode=broken)
    with pytest.raises(StepFailedError) as found:
        text_encoder.of_records(loud, records(["SECRET"] * COUNT))
    assert "SECRET" not in found.value.message + found.value.hint
    assert found.value.__cause__ is None


def test_prompts_are_for_runs_on_captions(weights, tmp_path):
    plain = make_plan(PlanRequest(target_epsilon=3.0))
    asked = sampling.SampleRequest(count=2, prompts=("a",))
    with pytest.raises(ParameterError, match="knows classes"):
        sampling.draw(plain, tmp_path, asked)
    with pytest.raises(ParameterError, match="none was given"):
        sampling.draw(plan_for(weights), tmp_path, sampling.SampleRequest(count=2))


@pytest.mark.parametrize(
    ("name", "change", "error", "said"),
    [("config.json", {"architectures": ["BertModel"]}, ParameterError, "BertModel"),
     ("config.json", {"hidden_size": 24}, ParameterError, "takes 16 numbers"),
     ("tokenizer_config.json", {"model_max_length": None}, None, ""),
     ("tokenizer_config.json", {"pad_token": "<no>"}, ParameterError, "fill short"),
     ("tokenizer.json", "gone", DataError, "has no tokenizer.json"),
     ("tokenizer.json", "{}", DataError, "are damaged"),
     ("model.safetensors", "broken", DataError, "are damaged")],
    ids=lambda x: str(x)[:30],
)  # fmt: skip
def test_folders_that_are_no_text_encoder_are_refused(
    weights, tmp_path, name, change, error, said
):
    kept = weights.folder.parent
    folder = shutil.copytree(kept / "drawn-captions", tmp_path / "enc")
    path = folder / name
    if change == "gone":
        path.unlink()
    elif isinstance(change, str):
        path.write_text(change)
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | change))

    def take():
        source = pipeline_parts.TextSource(folder=folder, data_name="captions")
        return adopting.adopt(
            kept / "unet", tmp_path / "out", declared_by="me", data_name="noise",
            classes=None, text=source,
        )  # fmt: skip

    if error is None:
        assert take().training.text.tokens == texts.TOKENS
        return
    with pytest.raises(error, match=said):
        take()
    assert not (tmp_path / "out").exists()


def test_an_encoder_of_another_class_is_read_too(tmp_path):
    weights = taken(tmp_path, texts.t5)
    known = weights.document.training.text
    assert known.kind == "T5EncoderModel"
    found = text_encoder.load(weights.folder / "text_encoder", known)
    from transformers import T5EncoderModel

    theirs = T5EncoderModel.from_pretrained(
        tmp_path / "drawn-captions", local_files_only=True
    ).eval()
    with torch.no_grad():
        states = theirs(input_ids=texts.numbers(["a dark disc"])).last_hidden_state
    assert torch.allclose(found.encode(["a dark disc"]), states.flatten(1), atol=1e-6)


def test_a_network_of_diffusers_is_taken_with_the_autoencoder_it_is_for(
    weights, tmp_path
):
    """Else a plan on latents would begin from a network for images of their size."""
    document = autoencoder.seal(
        autoencoder.Autoencoder(
            format=autoencoder.FORMAT, privplan_version="0", kind="kl", channels=3,
            latent_channels=1, factor=4, base_width=8, codes=1, config="", scale=0.5,
            seed=1, phases=weights.document.phases, code_digest="0" * 64,
            weights_digest="0" * 64, digest="0" * 64,
        )
    )  # fmt: skip
    said = {"declared_by": "me", "data_name": "noise", "classes": None}
    unet = weights.folder.parent / "unet"
    found = adopting.adopt(unet, tmp_path / "a", autoencoder=document, **said)
    latent = found.training.latent
    assert latent == autoencoder.latent_of(
        document, PlanShape(channels=3, height=4 * SIDE, width=4 * SIDE, classes=1)
    )
    other = document.model_copy(update={"latent_channels": 4})
    with pytest.raises(ParameterError, match="latents have 4"):
        adopting.adopt(unet, tmp_path / "b", autoencoder=other, **said)
    assert not (tmp_path / "b").exists()


def test_every_field_of_a_plan_on_captions_may_be_published(weights):
    """A release refuses any field nobody asked about, and all of these are public."""
    text = plan_for(weights).model_dump(mode="json")["training"]["text"]
    known = release.allowed()
    for path, _ in release.leaves({"plan": {"training": {"text": text}}}):
        assert path in known or release._below(path, known), path
    assert {"plan.data.caption_column", "assumptions.text-encoder"} <= set(known)
