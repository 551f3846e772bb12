"""Autoencoders from public images, and private training on the latents they give."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from diffusion import autoencoding, latents, pretrained, pretraining, run, sampling
from diffusion.data import PrivateImages, PublicImages, data_digest, public_digest
from diffusion.pools import PublicPool, SyntheticPool
from diffusion.watching import RunOptions, Silent
from privplan import autoencoder, plan_training, reliance
from privplan import plan as plans
from privplan.errors import (
    DataError,
    DocumentError,
    IntegrityError,
    ParameterError,
    PolicyError,
)
from privplan.free_phases import PublicData, public_phase, synthetic_phase
from privplan.network_text import parse as parse_network
from privplan.plan import PlanShape
from privplan.planner import (
    DeclaredData,
    PlanRequest,
    TrainingWishes,
    Wishes,
    make_plan,
)
from privplan.presets import Preset
from privplan.recipes import recipe
from privplan.stage_text import ALL_PRIVATE, parse

SIDE = 16
IMAGES = PlanShape(channels=1, height=SIDE, width=SIDE, classes=2)
SETTINGS = dataclasses.replace(
    recipe(records=1, height=SIDE, width=SIDE), synthetic_batch_size=16
)


def pixels(count, seed):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear")
    return (255 * smooth).to(torch.uint8), torch.arange(count) % 2


def private(count=40):
    return PrivateImages(*pixels(count, 1), 2)


def public(count=40):
    return PublicImages(*pixels(count, 2), 2)


def trained(folder, kind="kl", steps=30, **wanted):
    seen = public()
    named = PublicData(
        name="blobs", digest=public_digest(seen), declared_by="the data office"
    )
    phases = (
        synthetic_phase(SETTINGS, "strokes", steps=steps, name="drawn"),
        public_phase(SETTINGS, named, steps=steps, name="blobs"),
    )
    pools = (
        SyntheticPool(IMAGES, phases[0]),
        PublicPool(IMAGES, phases[1], seen, seed=1),
    )
    shape = autoencoding.Shape(
        kind=kind, channels=1, latent_channels=4, factor=4, base_width=8,
        codes=32 if kind == "vq" else 1, **wanted,
    )  # fmt: skip
    autoencoding.train(shape, list(zip(phases, pools, strict=True)), folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("autoencoder") / "kl")


@pytest.fixture(scope="module")
def space(folder):
    return latents.load(folder)


def plan_for(space, **wanted):
    shape = space.document.latent_shape(IMAGES)
    data = DeclaredData(
        records=40, channels=shape.channels, height=shape.height, width=shape.width,
        classes=2,
    )  # fmt: skip
    training = TrainingWishes(
        latent=autoencoder.latent_of(space.document, IMAGES),
        network=None if "pretrained" in wanted else parse_network("attention=4"),
    )
    return make_plan(
        PlanRequest(
            target_epsilon=5.0, target_delta=1e-3, data=data, training=training,
            wishes=Wishes(steps=2, sample_rate=0.25, noise_multiplicity=2, **wanted),
        )
    )  # fmt: skip


class StopAtOnce(Silent):
    def should_stop(self):
        return True


@pytest.mark.parametrize("kind", ["kl", "vq"])
def test_an_autoencoder_gives_back_more_than_grey(tmp_path, kind):
    """Two routes: its answer, and the best it could do without looking (the mean)."""
    space = latents.load(trained(tmp_path / kind, kind, steps=80))
    shown, _ = public(16).batch(torch.arange(16))
    error = (space.decode(space.encode(shown)) - shown).abs().mean()
    assert float(error) < 0.7 * float((shown - shown.mean()).abs().mean())
    assert space.document.kind == kind


def test_latents_are_as_spread_as_images_by_a_public_scale(space):
    """A scale from private records would be a release that nobody paid for."""
    shown, _ = public().batch(torch.arange(40))
    # 20 %: the scale comes from four batches of sixteen drawn from these images.
    assert float(space.encode(shown).std()) == pytest.approx(0.5, rel=0.2)
    kept = json.loads((space.folder / autoencoder.DOCUMENT_NAME).read_text())
    assert float(kept["scale"]) == space.document.scale


def test_private_images_are_encoded_as_public_ones_are(space):
    """By a map and a scale that know nothing of them, dark or bright."""
    for shown in (pixels(40, 1)[0], torch.full((40, 1, SIDE, SIDE), 255)):
        kept = shown.to(torch.uint8), torch.arange(40) % 2, 2
        one = latents.encode_private(PrivateImages(*kept), space)
        other = latents.encode_public(PublicImages(*kept), space)
        assert torch.equal(one.images, other.images)
    assert plan_for(space).training.latent.scale == space.document.scale


def test_each_record_is_encoded_alone(space):
    """Else a record would sit in the latents of others, and sensitivity would grow."""
    whole = latents.encode_private(private(), space)
    changed = pixels(40, 1)[0]
    changed[7] = 255 - changed[7]
    other = latents.encode_private(PrivateImages(changed, whole.labels, 2), space)
    same = (whole.images == other.images).flatten(1).all(1)
    assert [i for i in range(40) if not same[i]] == [7]


def test_an_encoder_that_mixes_records_is_refused(space):
    def mixing(images):
        found = space.encode(images)
        return found - found.mean(dim=0, keepdim=True)

    broken = dataclasses.replace(space, encode=mixing)
    with pytest.raises(ParameterError, match="depends on other records"):
        latents.check_records_stay_apart(broken)


def test_latents_keep_the_digest_and_the_silence_of_their_images(space):
    images = private()
    found = latents.encode_private(images, space)
    assert data_digest(found) == data_digest(images)
    assert repr(found) == "PrivateImages(hidden)"
    assert found.is_private
    assert not latents.encode_public(public(), space).is_private


def tensors_in(folder):
    """Every array of numbers that any file below holds, as float32 bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_private_run_on_latents_writes_none_of_them(space, folder, tmp_path):
    """End to end: encode, train, break off, go on, sample; no file holds a latent."""
    plan, images, where = plan_for(space), private(), tmp_path / "run"
    options = RunOptions(autoencoder=space)
    begun = run.train(plan, images, where, options=options, watcher=StopAtOnce())
    assert not begun.finished
    assert run.train(plan, images, where, resume=True).finished
    held = latents.encode_private(images, space).images
    needles = [one.flatten()[:4].numpy().astype(form).tobytes()
               for one in held for form in ("<f4", "<f8", "<f2")]  # fmt: skip
    needles += [one.numpy().tobytes()[:64] for one in images.images]
    for path, content in tensors_in(where).items():
        assert not any(needle in content for needle in needles), path
    drawn = sampling.draw(plan, where, sampling.SampleRequest(count=3))
    assert drawn.images.shape == (3, 1, SIDE, SIDE)
    assert autoencoder.read(where / latents.FOLDER) == space.document


def test_the_report_lists_the_autoencoder_among_what_the_claim_relies_on(space):
    said = reliance.relied_on(plan_for(space))["autoencoder"]
    assert space.document.digest in said
    assert "blobs" in said
    assert "declared public by the data office" in said


def test_a_plan_without_latents_has_the_digest_it_always_had():
    plan = make_plan(PlanRequest(target_epsilon=1.0))
    assert "latent" not in plan.model_dump(mode="json")["training"]
    assert plans.from_text(plans.to_text(plan).encode()) == plan


def test_latents_cost_what_images_cost(space):
    """The map is public and acts on each record alone: no other event or noise."""
    one = plan_for(space)
    plain = make_plan(
        PlanRequest(
            target_epsilon=5.0, target_delta=1e-3,
            data=DeclaredData(records=40, channels=4, height=4, width=4, classes=2),
            wishes=Wishes(steps=2, sample_rate=0.25, noise_multiplicity=2),
        )
    )  # fmt: skip
    assert one.private_phases[0].mechanism == plain.private_phases[0].mechanism
    assert plans.from_text(plans.to_text(one).encode()) == one


def test_only_the_autoencoder_of_the_plan_is_used(space, tmp_path):
    plan, images = plan_for(space), private()
    other = latents.load(trained(tmp_path / "other", steps=3))
    with pytest.raises(PolicyError, match="not the autoencoder"):
        run.train(plan, images, tmp_path / "a", options=RunOptions(autoencoder=other))
    with pytest.raises(ParameterError, match="must be named"):
        run.train(plan, images, tmp_path / "b")
    plain = make_plan(PlanRequest(target_epsilon=5.0, data=DeclaredData(
        records=40, channels=1, height=SIDE, width=SIDE, classes=2)))  # fmt: skip
    with pytest.raises(ParameterError, match="trains on images"):
        run.train(plain, images, tmp_path / "c", options=RunOptions(autoencoder=space))


def test_changed_or_missing_files_are_noticed(folder, tmp_path):
    import shutil

    copy = shutil.copytree(folder, tmp_path / "copy")
    weights = copy / autoencoder.WEIGHTS_NAME
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(IntegrityError, match="not those its document"):
        latents.load(copy)
    document = copy / autoencoder.DOCUMENT_NAME
    text = json.loads(document.read_text()) | {"scale": "9.0"}
    document.write_text(json.dumps(text))
    with pytest.raises(IntegrityError, match="changed after it was written"):
        latents.load(copy)
    document.unlink()
    with pytest.raises(DocumentError, match="holds no autoencoder"):
        latents.load(copy)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"channels": 3}, "for 1 colour channels"),
        ({"height": 18}, "divides sides by 4"),
    ],
)
def test_images_that_do_not_fit_are_refused(space, shape, said):
    with pytest.raises(ParameterError, match=said):
        space.document.latent_shape(IMAGES.model_copy(update=shape))


@pytest.mark.parametrize("wrong", [{"flip": True}, {"latent": {"scale": "0.0"}}])
def test_a_plan_that_treats_latents_as_images_is_refused(space, wrong):
    text = json.loads(plans.to_text(plan_for(space)))
    for key, value in wrong.items():
        if isinstance(value, dict):
            text["training"][key] |= value
        else:
            text["training"][key] = value
    text.pop("digest")
    from privplan import canonical

    text["digest"] = canonical.digest(text)
    with pytest.raises(DocumentError, match="contradicts itself"):
        plans.from_text(json.dumps(text).encode())


@pytest.mark.slow
def test_a_latent_network_is_pretrained_on_public_latents_and_fits_only_there(
    space, tmp_path
):
    """DP-LDM: public autoencoder, public diffusion on latents, private fine-tuning."""
    seen = latents.encode_public(public(), space)
    shape = space.document.latent_shape(IMAGES)
    named = PublicData(name="blobs", digest=public_digest(seen), declared_by="me")
    allocation = parse(
        ALL_PRIVATE,
        dimensions=shape.dimensions,
        sigma_min=SETTINGS.sigma_min,
        sigma_max=SETTINGS.sigma_max,
    )

    def training(latent):
        return plan_training.training_of(
            TrainingWishes(network=parse_network("attention=4"), latent=latent),
            Preset(stages=ALL_PRIVATE), allocation, SETTINGS, shape,
        )  # fmt: skip

    latent = autoencoder.latent_of(space.document, IMAGES)
    phase = public_phase(SETTINGS, named, steps=2, name="blobs")
    pretraining.pretrain(
        shape, training(latent), (phase,), {"blobs": seen}, tmp_path / "p"
    )
    weights = pretrained.load(tmp_path / "p")
    plan = plan_for(space, pretrained=weights.document)
    options = RunOptions(autoencoder=space, pretrained=weights)
    assert run.train(plan, private(), tmp_path / "run", options=options).finished
    assert set(reliance.relied_on(plan)) >= {"autoencoder", "pretrained-weights"}
    without = PlanRequest(
        target_epsilon=5.0,
        data=DeclaredData(records=40, channels=4, height=4, width=4, classes=2),
        wishes=Wishes(pretrained=weights.document),
    )
    with pytest.raises(ParameterError, match="autoencoder"):
        make_plan(without)


def test_public_images_without_spread_give_no_scale(tmp_path):
    flat = PublicImages(
        torch.zeros(8, 1, SIDE, SIDE, dtype=torch.uint8),
        torch.zeros(8, dtype=torch.int64),
        2,
    )
    named = PublicData(name="flat", digest=public_digest(flat), declared_by="me")
    phase = public_phase(SETTINGS, named, steps=1, name="flat")
    pool = PublicPool(IMAGES.model_copy(update={"classes": 1}), phase, flat, seed=1)
    pool.batch = lambda step: (torch.full((4, 1, SIDE, SIDE), float("nan")), None)
    shape = autoencoding.Shape(
        kind="kl", channels=1, latent_channels=4, factor=4, base_width=8
    )
    with pytest.raises(DataError, match="do not vary"):
        autoencoding.train(shape, [(phase, pool)], tmp_path / "out")


def test_an_autoencoder_of_diffusers_is_taken_with_the_scale_it_states(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = diffusers.AutoencoderKL(
            in_channels=1, out_channels=1, block_out_channels=(8, 8), norm_num_groups=4,
            latent_channels=4, down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, scaling_factor=0.25,
        )  # fmt: skip
    vae.save_pretrained(tmp_path / "vae")
    document = autoencoding.adopt(
        tmp_path / "vae", tmp_path / "out", declared_by="me", data_name="somewhere"
    )
    space = latents.load(tmp_path / "out")
    shown, _ = public(3).batch(torch.arange(3))
    with torch.no_grad():
        theirs = 0.25 * vae.eval().encode(shown).latent_dist.mode()
        back = vae.decode(theirs / 0.25).sample
    np.testing.assert_allclose(space.encode(shown), theirs, atol=1e-5)
    np.testing.assert_allclose(space.decode(theirs), back, atol=1e-5)
    assert (document.scale, document.factor) == (0.25, 2)
    assert plan_for(space).training.latent.kind == "AutoencoderKL"
