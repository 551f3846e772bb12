"""From public images to a private run and its report, and what is refused."""

import hashlib
import json
import shutil

import pytest
import torch
from safetensors import safe_open

from diffusion import checkpoint, pretrained, pretraining, run, sampling
from diffusion.data import PublicImages, public_digest
from diffusion.watching import RunOptions, Silent
from privplan import ledger, plan_training, reliance, report
from privplan import plan as plans
from privplan import pretrained as documents
from privplan import report_words as words
from privplan.errors import (
    DocumentError,
    IntegrityError,
    ParameterError,
    PolicyError,
)
from privplan.free_phases import PublicData, public_phase, synthetic_phase
from privplan.network_text import parse as parse_network
from privplan.plan import PlanShape, PretrainedPhase
from privplan.planner import PlanRequest, TrainingWishes, Wishes, make_plan
from privplan.presets import Preset
from privplan.recipes import recipe
from privplan.report_schema import Surroundings
from privplan.stage_text import ALL_PRIVATE, parse
from privplan.stages import Sharing

SHAPE = PlanShape(channels=1, height=8, width=8, classes=10)
SETTINGS = recipe(records=1, height=8, width=8)
AROUND = Surroundings(
    source_digest="c" * 64, versions={"privplan": "0"}, platform="somewhere"
)


def letters(count=40):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 1, 12, 10), generator=generator)
    return PublicImages(pixels.to(torch.uint8), torch.arange(count) % 10, 10)


def training_for(network, shape=SHAPE, **wanted):
    allocation = parse(
        ALL_PRIVATE,
        dimensions=shape.dimensions,
        sigma_min=SETTINGS.sigma_min,
        sigma_max=SETTINGS.sigma_max,
    )
    return plan_training.training_of(
        TrainingWishes(network=parse_network(network), **wanted),
        Preset(stages=ALL_PRIVATE),
        allocation,
        SETTINGS,
        shape,
    )


def made(folder, *, network="attention=4", seed=1, shape=SHAPE, steps=2):
    images = letters()
    named = PublicData(
        name="letters", digest=public_digest(images), declared_by="the data office"
    )
    phases = (
        synthetic_phase(SETTINGS, "strokes", steps=steps, name="drawn", seed=seed),
        public_phase(SETTINGS, named, steps=steps, name="letters"),
    )
    pretraining.pretrain(
        shape, training_for(network, shape), phases, {"letters": images}, folder
    )
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made(tmp_path_factory.mktemp("pretrained") / "one")


@pytest.fixture(scope="module")
def weights(folder):
    return pretrained.load(folder)


def plan_from(weights, tune="all", *, stages=None, steps=3, **wanted):
    return make_plan(
        PlanRequest(
            target_epsilon=3.0,
            stages=stages,
            wishes=Wishes(
                steps=steps,
                sample_rate=0.02,
                noise_multiplicity=2,
                pretrained=weights.document,
            ),
            training=TrainingWishes(tune=tune, **wanted),
        )
    )


def released(folder):
    with safe_open(folder / checkpoint.MODEL_NAME, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def digest(tensor):
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


class StopAfter(Silent):
    def __init__(self, steps):
        self.left = steps

    def advance(self, phase, *, done):
        self.left -= phase.name == "private"

    def should_stop(self):
        return self.left <= 0


def test_a_checkpoint_says_what_it_learned_from_and_who_called_it_public(weights):
    drawn, public = weights.document.phases
    assert (drawn.generator, drawn.seed, drawn.steps) == ("strokes", 1, 2)
    assert public.data_digest == public_digest(letters())
    assert public.declared_by == "the data office"
    assert weights.document.code_digest != weights.document.weights_digest
    assert weights.document.training.network.attention_resolutions == (4,)


@pytest.mark.parametrize("changed", ["declared_by", "data_name", "steps"])
def test_a_changed_lineage_is_noticed(folder, tmp_path, changed):
    """Otherwise anyone could declare anything public afterwards."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / documents.DOCUMENT_NAME
    text = json.loads(path.read_text())
    text["phases"][1][changed] = 7 if changed == "steps" else "someone else"
    path.write_text(json.dumps(text))
    with pytest.raises(IntegrityError, match="changed after it was written"):
        pretrained.load(copy)


def test_changed_or_missing_weights_are_noticed(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / documents.WEIGHTS_NAME
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="not those its document"):
        pretrained.load(copy)
    path.unlink()
    with pytest.raises(DocumentError, match=r"has no weights\.safetensors"):
        pretrained.load(copy)
    with pytest.raises(DocumentError, match="cannot be read"):
        pretrained.load(tmp_path / "nowhere")


def test_images_that_a_phase_does_not_name_are_not_learned_from(tmp_path):
    named = PublicData(name="letters", digest="0" * 64, declared_by="me")
    phase = public_phase(SETTINGS, named, steps=1, name="letters")
    training = training_for("attention=4")
    with pytest.raises(PolicyError, match="not those it names"):
        pretraining.pretrain(
            SHAPE, training, (phase,), {"letters": letters()}, tmp_path / "out"
        )
    with pytest.raises(ParameterError, match="no images"):
        pretraining.pretrain(SHAPE, training, (phase,), {}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_plan_names_its_checkpoint_and_pays_nothing_for_it(weights):
    plan = plan_from(weights)
    first = plan.phases[0]
    assert isinstance(first, PretrainedPhase)
    assert first.checkpoint_digest == weights.document.digest
    assert first.lineage == weights.document.phases
    without = make_plan(
        PlanRequest(
            target_epsilon=3.0,
            wishes=Wishes(steps=3, sample_rate=0.02, noise_multiplicity=2),
        )
    )
    (one,), (other,) = plan.private_phases, without.private_phases
    assert one.mechanism == other.mechanism
    assert plan.accounting.epsilon_upper == without.accounting.epsilon_upper
    assert plans.from_text(plans.to_text(plan).encode()) == plan


def test_pretrained_weights_answer_for_a_public_stage(weights, digits, tmp_path):
    plan = plan_from(
        weights,
        stages="coarse=public,context=private,cleaning=public",
        sharing=Sharing.GATED,
    )
    options = RunOptions(pretrained=weights)
    assert run.train(plan, digits, tmp_path / "run", options=options).finished
    model = released(tmp_path / "run")
    public = {n: t for n, t in model.items() if n.startswith("part.public.")}
    assert public
    for name, tensor in public.items():
        plain = name.removeprefix("part.public.")
        assert digest(tensor) == digest(weights.tensors[plain])


@pytest.mark.parametrize("tune", ["attention", "bias+lora:2@attention+conv"])
def test_what_is_not_tuned_is_released_to_the_last_bit(weights, tune, digits, tmp_path):
    """By hash, after a run that was broken off and went on."""
    plan, options = plan_from(weights, tune), RunOptions(pretrained=weights)
    folder = tmp_path / "run"
    first = run.train(plan, digits, folder, options=options, watcher=StopAfter(1))
    assert not first.finished
    assert run.train(plan, digits, folder, resume=True).finished
    model = {
        name.removeprefix("part.shared.").replace(".base.", "."): tensor
        for name, tensor in released(folder).items()
    }
    same = {n for n, t in weights.tensors.items() if digest(t) == digest(model[n])}
    chosen = (
        {n for n in weights.tensors if ".attention." in n}
        if tune == "attention"
        else {n for n in weights.tensors if n.endswith(".bias")}
    )
    assert same == set(weights.tensors) - chosen
    products = set(model) - set(weights.tensors)
    assert bool(products) == ("lora" in tune)
    assert all(float(model[n].abs().max()) > 0 for n in products)
    with safe_open(folder / checkpoint.MODEL_NAME, framework="pt") as file:
        facts = json.loads(file.metadata()["facts"])
    assert facts["tune"] == plan.training.tune
    assert facts["pretrained"] == [weights.document.digest]
    assert len(sampling.draw(plan, folder, sampling.SampleRequest(count=2)).labels) == 2


def test_full_fine_tuning_goes_through_with_all_that_was_published_for_it(
    weights, digits, tmp_path
):
    """Augmentation and timesteps drawn per copy, three intervals of sigma, and an
    expected batch of many physical ones; Ghalebikesabi et al. 2023."""
    plan = plan_from(
        weights,
        steps=1,
        flip=True,
        shift=1,
        mixture=plans.PlanMixture(cuts=(0.1, 2.0), shares=(1.0, 6.0, 1.0)),
    )
    options = RunOptions(pretrained=weights, physical_batch_size=4)
    assert run.train(plan, digits, tmp_path / "run", options=options).finished
    content = ledger.read(tmp_path / "run" / "ledger.sqlite")
    assert {p.name: content.counted(p.name) for p in plan.phases} == {
        "pretrained": 1,
        "private": 1,
    }
    model = released(tmp_path / "run")
    moved = [n for n, t in weights.tensors.items()
             if digest(t) != digest(model[f"part.shared.{n}"])]  # fmt: skip
    assert len(moved) == len(weights.tensors)


def test_another_checkpoint_than_the_plans_is_refused(
    weights, digits, tmp_path_factory, tmp_path
):
    plan = plan_from(weights)
    other = pretrained.load(made(tmp_path_factory.mktemp("other") / "two", seed=9))
    wide = pretrained.load(
        made(tmp_path_factory.mktemp("other") / "wide", network="width=16", steps=1)
    )
    with pytest.raises(PolicyError, match="not the pretrained checkpoint"):
        run.train(plan, digits, tmp_path / "run", options=RunOptions(pretrained=other))
    with pytest.raises(ParameterError, match="base_width is 16, the plan's is 8"):
        run.train(plan, digits, tmp_path / "run", options=RunOptions(pretrained=wide))
    with pytest.raises(ParameterError, match="must be named"):
        run.train(plan, digits, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_without_a_use_is_refused(small_plan, weights, digits, tmp_path):
    options = RunOptions(pretrained=weights)
    with pytest.raises(ParameterError, match="begins from none"):
        run.train(small_plan, digits, tmp_path / "run", options=options)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [({"parameterisation": "v"}, "parameterisation is edm, the plan's is v"),
     ({"stages": "best"}, "parameterisation is edm, the plan's is gaussian"),
     ({"sharing": Sharing.EXPERTS}, "--share experts"),
     ({"network": parse_network("blocks=2")}, "--network has nothing to act on")],
)  # fmt: skip
def test_a_plan_that_would_not_fit_its_checkpoint_is_not_made(weights, wanted, said):
    with pytest.raises(ParameterError, match=said):
        plan_from(weights, **wanted)


def test_a_plan_for_other_images_than_the_checkpoints_is_not_made(tmp_path):
    other = pretrained.load(
        made(tmp_path / "few", shape=SHAPE.model_copy(update={"classes": 3}), steps=1)
    )
    with pytest.raises(
        ParameterError, match="classes is 3, the plan's is 10"
    ) as caught:
        plan_from(other)
    assert "privplan pretrain" in caught.value.hint


def predicate_of(plan, folder):
    folder.mkdir()
    book = ledger.Ledger.create(
        folder / "ledger.sqlite",
        plan_digest=plan.digest,
        data_digest="d" * 64,
        code_digest="c" * 64,
        allowances=[
            ledger.Allowance(phase=p.name, event=p.event, steps=p.steps)
            for p in plan.phases
        ],
    )
    book.close()
    return report.build(plan, ledger.read(folder / "ledger.sqlite"), AROUND)


def test_a_report_lists_what_was_called_public_and_by_whom(
    weights, tmp_path, asked_once
):
    said = predicate_of(plan_from(weights, "lora:2"), tmp_path / "run")
    listed = said.assumptions["pretrained-weights"]
    assert weights.document.digest in listed
    assert public_digest(letters()) in listed
    assert "declared public by the data office" in listed
    assert "lora:2@attention" in said.mechanism.trains
    assert "pretrained-weights" in reliance.check(said)


@pytest.mark.parametrize("how", ["left out", "softened", "added", "more trained"])
def test_a_report_that_rests_on_less_than_its_plan_does_not_verify(
    weights, tmp_path, how, asked_once
):
    said = predicate_of(plan_from(weights, "film"), tmp_path / "run")
    words_said = dict(said.assumptions)
    changed = {
        "left out": {k: v for k, v in words_said.items() if k in words.ASSUMPTIONS},
        "softened": words_said | {"pretrained-weights": "Nothing to see."},
        "added": words_said | {"all-is-well": "It is."},
        "more trained": words_said,
    }[how]
    forged = said.model_copy(update={"assumptions": changed})
    if how == "more trained":
        mechanism = said.mechanism.model_copy(update={"trains": "bias"})
        forged = said.model_copy(update={"mechanism": mechanism})
    with pytest.raises(IntegrityError):
        reliance.check(forged)
