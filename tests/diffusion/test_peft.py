"""Adapters of peft, out and in: what peft makes of them is what we make of them."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from diffusion import adopting, checkpoint, exporting, peft_folder, pretrained
from diffusion.adapters import load_plain, merged
from diffusion.ema import Ema
from diffusion.parts import SHARED, new_learned
from diffusion.peft_folder import AdapterSource
from diffusion.watching import RunOptions
from privplan import canonical, reliance
from privplan.errors import DataError, ParameterError
from privplan.planner import PlanRequest, TrainingWishes, Wishes, make_plan

diffusers = pytest.importorskip("diffusers")
peft = pytest.importorskip("peft")
models = pytest.importorskip("tests.diffusion.borrowed_models")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
SAID = {"declared_by": "the data office", "data_name": "noise", "classes": 10}
FACTS = {"plan_sha256": "0" * 64, "differential_privacy": '{"epsilon": 3.0}'}
CLASSES = {
    "unet": "UNet2DModel",
    "conditioned": "UNet2DConditionModel",
    "dit": "DiTTransformer2DModel",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("networks")
    return {name: models.saved(base / name, name) for name in CLASSES}


def theirs(folder, name):
    kind = getattr(diffusers, CLASSES[name])
    return kind.from_pretrained(folder, local_files_only=True).eval()


def asked(name):
    """Arguments of a call, the same for every network of one name."""
    generator = torch.Generator().manual_seed(5)
    given = {"timestep": torch.tensor([3, 50]), "return_dict": False}
    if name == "conditioned":
        given["encoder_hidden_states"] = torch.randn(2, 2, 16, generator=generator)
    else:
        given["class_labels"] = torch.tensor([1, 7])
    return torch.randn(2, 1, 8, 8, generator=generator), given


def answer(net, name):
    images, given = asked(name)
    with torch.no_grad():
        return net(images, **given)[0]


def stir(tensors, *, seed=3):
    """Give products some values: a fresh one is zero and would hide every mistake."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in tensors:
            tensor.copy_(0.2 * torch.randn(tensor.shape, generator=generator))


def released(folder, tmp_path, tune, **taken):
    """Write a run as private steps would leave it; return plan, network and folder."""
    adopting.adopt(folder, tmp_path / "taken", **SAID, **taken)
    weights = pretrained.load(tmp_path / "taken")
    wishes = Wishes(steps=2, sample_rate=0.02, pretrained=weights.document)
    training = TrainingWishes(tune=tune)
    plan = make_plan(PlanRequest(target_epsilon=3.0, wishes=wishes, training=training))
    learned = new_learned(plan, RunOptions())
    learner = learned.parts[SHARED]
    load_plain(learner.network, weights.tensors)
    stir(
        p
        for name, p in learner.network.named_parameters()
        if ".low." in name
        or ".high." in name
        or ("time_embedding" in name and "embedding" in tune)
    )
    learner.ema = Ema(learner.network, 0.9)
    run = kept(learned, plan, tmp_path / "run")
    return plan, learner.network.eval(), run


def kept(learned, plan, run):
    (run / "checkpoint").mkdir(parents=True)
    checkpoint.save_model(run, learned, {"plan_digest": plan.digest})
    return run


def exported(plan, run, out):
    exporting.export(plan, run, out, form="peft", facts=FACTS, card="# Card")
    return out


@pytest.mark.parametrize(
    ("name", "tune"),
    [("unet", "lora:2@attention+conv"), ("conditioned", "lora:2@attention+conv"),
     ("dit", "lora:3")],
)  # fmt: skip
def test_peft_answers_what_our_network_answers(folders, tmp_path, name, tune):
    """A factor under another name is left out by peft with no more than a warning."""
    plan, network, run = released(folders[name], tmp_path, tune)
    out = exported(plan, run, tmp_path / "out")
    loaded = peft.PeftModel.from_pretrained(theirs(folders[name], name), out).eval()
    # Both add B A x to the same layer's answer: equal to the last bit.
    found = answer(loaded, name)
    assert torch.equal(found, answer(network.net, name))
    assert not torch.equal(found, answer(theirs(folders[name], name), name))
    with safe_open(out / peft_folder.WEIGHTS, framework="pt") as file:
        said = file.metadata()
    whole = folders[name] / "diffusion_pytorch_model.safetensors"
    assert said == {
        "format": "pt", **FACTS, "base_weights_sha256": canonical.file_digest(whole)
    }  # fmt: skip
    assert (out / "README.md").read_text() == "# Card"
    assert not (out / "base").exists()
    assert (out / exporting.TOKEN).exists() == (name == "conditioned")


def test_diffusers_loads_the_adapter_by_its_own_door(folders, tmp_path):
    plan, network, run = released(folders["conditioned"], tmp_path, "lora:2@conv")
    out = exported(plan, run, tmp_path / "out")
    net = theirs(folders["conditioned"], "conditioned")
    net.load_lora_adapter(
        out, prefix="base_model.model", weight_name=peft_folder.WEIGHTS
    )
    assert torch.equal(answer(net, "conditioned"), answer(network.net, "conditioned"))


def test_what_is_trained_beside_the_products_lies_in_a_base_of_its_own(
    folders, tmp_path
):
    """An adapter on the wrong base answers without complaint, and wrongly."""
    plan, network, run = released(folders["unet"], tmp_path, "embedding+lora:2")
    out = exported(plan, run, tmp_path / "out")
    loaded = peft.PeftModel.from_pretrained(theirs(out / "base", "unet"), out).eval()
    assert torch.equal(answer(loaded, "unet"), answer(network.net, "unet"))
    other = peft.PeftModel.from_pretrained(theirs(folders["unet"], "unet"), out).eval()
    assert not torch.equal(answer(other, "unet"), answer(network.net, "unet"))
    weights = out / "base" / "diffusion_pytorch_model.safetensors"
    for path in (out / peft_folder.WEIGHTS, weights):
        with safe_open(path, framework="pt") as file:
            assert file.metadata()["plan_sha256"] == FACTS["plan_sha256"]
    with safe_open(out / peft_folder.WEIGHTS, framework="pt") as file:
        said = file.metadata()["base_weights_sha256"]
    assert said == canonical.file_digest(weights)


def test_our_adapter_comes_in_again_as_it_went_out(folders, tmp_path):
    """The two directions are written apart; each must undo the other."""
    plan, network, run = released(folders["unet"], tmp_path, "lora:2@attention+conv")
    out = exported(plan, run, tmp_path / "out")
    base = load_file(folders["unet"] / "diffusion_pytorch_model.safetensors")
    found = peft_folder.merge(base, peft_folder.read(out), "UNet2DModel")
    expected = merged(network).net.state_dict()
    for name, tensor in found.items():
        wanted = expected[name][: len(tensor)]
        assert torch.equal(tensor, wanted), name


@pytest.mark.parametrize("form", ["peft", "diffusers"])
def test_what_cost_privacy_once_is_not_taken_for_public_in_silence(
    folders, tmp_path, form
):
    """Two runs on the same records would each claim to be the only one."""
    plan, _, run = released(folders["dit"], tmp_path, "lora:2")
    out = tmp_path / "out"
    exporting.export(plan, run, out, form=form, facts=FACTS, card="# Card")
    beside = form == "peft"
    source = AdapterSource(folder=out, data_name="x" * 200) if beside else None
    taken = adopting.adopt(
        folders["dit"] if beside else out, tmp_path / "again", **SAID, adapter=source
    )
    last = taken.phases[-1].data_name
    assert last.endswith(", and private records under plan 0000000000000000")
    assert last.startswith("xxx" if beside else "noise")
    assert taken.phases[0].data_name == "noise" or not beside


@pytest.mark.parametrize("tune", ["all", "attention"])
def test_a_run_without_thin_products_is_no_adapter(folders, tmp_path, tune):
    plan, _, run = released(folders["dit"], tmp_path, tune)
    with pytest.raises(ParameterError, match="no thin products") as no:
        exported(plan, run, tmp_path / "out")
    assert "--format diffusers" in no.value.hint
    assert not (tmp_path / "out").exists()


def test_a_network_of_our_own_has_no_base_that_others_could_load(small_plan, tmp_path):
    learned = new_learned(small_plan, RunOptions())
    run = kept(learned, small_plan, tmp_path / "run")
    with pytest.raises(ParameterError, match="network of privplan") as no:
        exported(small_plan, run, tmp_path / "out")
    assert "safetensors" in no.value.hint


def made(folder, name, out, **wanted):
    """Train nothing and save: an adapter of peft with some numbers in it."""
    wanted = {"r": 2, "target_modules": ["to_q", "to_out.0"]} | wanted
    settings = peft.LoraConfig(**wanted)
    net = peft.get_peft_model(theirs(folder, name), settings).eval()
    stir(p for key, p in net.named_parameters() if "lora_" in key)
    net.save_pretrained(out)
    return net


CONVOLUTIONS = ["to_v", "conv1", "conv_shortcut", "time_emb_proj"]
VARIANTS = {
    "plain": {},
    "alpha": {"lora_alpha": 16},
    "rsLoRA": {"lora_alpha": 3, "use_rslora": True},
    "convolutions": {"target_modules": CONVOLUTIONS, "lora_alpha": 5},
    "patterns": {
        "rank_pattern": {"to_q": 3}, "lora_alpha": 4,
        "alpha_pattern": {"^mid_block.attentions.0.to_q": 7, "to_out.0": 5},
    },
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_merging_gives_what_peft_merges(folders, tmp_path, variant):
    """A scale that is read wrongly gives a network that is a little off, and silent."""
    net = made(folders["unet"], "unet", tmp_path / "a", **VARIANTS[variant])
    expected = net.merge_and_unload().state_dict()
    base = theirs(folders["unet"], "unet").state_dict()
    found = peft_folder.merge(base, peft_folder.read(tmp_path / "a"), "UNet2DModel")
    changed = [n for n, t in found.items() if not torch.equal(t, base[n])]
    assert changed == [n for n, t in expected.items() if not torch.equal(t, base[n])]
    assert changed
    for name, tensor in found.items():
        # 1e-6: peft multiplies factors of a convolution in another order
        assert torch.allclose(tensor, expected[name], rtol=0, atol=1e-6), name


def test_an_adapter_is_named_in_the_lineage_and_in_the_report(folders, tmp_path):
    """Else a claim would rest on images that nobody called public."""
    made(folders["conditioned"], "conditioned", tmp_path / "a")
    source = AdapterSource(folder=tmp_path / "a", data_name="open sketches")
    plan, network, run = released(
        folders["conditioned"], tmp_path, "lora:2", adapter=source
    )
    lineage = plan.phases[0].lineage
    assert [part.data_name for part in lineage] == ["noise", "open sketches"]
    assert lineage[1].weights_digest == peft_folder.read(tmp_path / "a").digest
    said = reliance.relied_on(plan)["pretrained-weights"]
    assert "open sketches, which only those saw who trained" in said
    assert said.count("declared public by the data office") == 2

    out = exported(plan, run, tmp_path / "out")
    base = theirs(out / "base", "conditioned")
    before = theirs(folders["conditioned"], "conditioned")
    with_theirs = peft.PeftModel.from_pretrained(before, tmp_path / "a").eval()
    # 1e-5: a product merged before instead of added after each layer, in float32
    assert torch.allclose(
        answer(base, "conditioned"), answer(with_theirs, "conditioned"), atol=1e-5
    )
    ours = peft.PeftModel.from_pretrained(base, out).eval()
    assert torch.equal(answer(ours, "conditioned"), answer(network.net, "conditioned"))


def test_the_command_line_takes_an_adapter_beside_a_network(
    folders, tmp_path, cli, refused
):
    made(folders["unet"], "unet", tmp_path / "a")
    out = tmp_path / "taken"
    beside = ["--adapter", tmp_path / "a", "--declared-by", "me", "--out", out]
    code, said = refused("pretrain", "--generator", "mix", *beside)
    assert (code, "--from-diffusers, which is not given" in said) == (2, True)
    code, said = refused("pretrain", "--from-diffusers", folders["dit"], *beside)
    assert (code, "does not have" in said) == (2, True)
    assert not out.exists()
    code, said, _ = cli("pretrain", "--from-diffusers", folders["unet"], *beside,
                        "--adapter-trained-on", "open sketches", "--json")  # fmt: skip
    assert code == 0
    phases = json.loads(said)["phases"]
    assert [one["name"] for one in phases] == ["elsewhere", "adapter"]
    assert phases[1]["data_name"] == "open sketches"
    assert {one["declared_by"] for one in phases} == {"me"}


def not_read(folder, error, kind="UNet2DModel", base=None):
    with pytest.raises(error) as found:
        peft_folder.merge(base or {}, peft_folder.read(folder), kind)
    return found.value


@pytest.mark.parametrize(
    ("wanted", "said"),
    [({"use_dora": True}, "use_dora"),
     ({"bias": "lora_only"}, "bias = lora_only"),
     ({"modules_to_save": ["conv_out"]}, "modules_to_save"),
     ({"init_lora_weights": "pissa"}, "init_lora_weights = pissa"),
     ({"rank_pattern": {"to_(q|k)": 1}}, r"to_(q|k)"),
     ({"target_modules": ["class_embedding"]}, "lora_embedding_A")],
    ids=lambda value: str(value)[:24],
)  # fmt: skip
def test_adapters_of_other_kinds_are_refused_by_name(folders, tmp_path, wanted, said):
    """Their numbers under the usual rule would make another network."""
    made(folders["unet"], "unet", tmp_path / "a", **wanted)
    found = not_read(tmp_path / "a", ParameterError)
    assert said in found.message
    assert "merge_and_unload" in found.hint


def test_what_is_no_lora_at_all_is_refused_by_name(folders, tmp_path):
    settings = peft.IA3Config(target_modules=["to_q"], feedforward_modules=[])
    net = peft.get_peft_model(theirs(folders["unet"], "unet"), settings)
    net.save_pretrained(tmp_path / "a")
    assert "IA3" in not_read(tmp_path / "a", ParameterError).message


@pytest.fixture
def plain(folders, tmp_path):
    made(folders["unet"], "unet", tmp_path / "a")
    return tmp_path / "a"


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [({"a_new_field": {"x": 1}}, ParameterError, "a_new_field"),
     ({"lora_bias": True}, ParameterError, "lora_bias"),
     ({"fan_in_fan_out": True}, ParameterError, "fan_in_fan_out"),
     ({"lora_alpha": float("nan")}, DataError, "no positive lora_alpha"),
     ({"lora_alpha": True}, DataError, "no positive lora_alpha"),
     ({"lora_alpha": "8"}, DataError, "no positive lora_alpha"),
     ({"r": 3}, DataError, "the rank 3, and its weights have 2"),
     ({"rank_pattern": [1]}, DataError, "no configuration"),
     ({"use_rslora": "yes"}, DataError, "no configuration")],
    ids=lambda value: str(value)[:24],
)  # fmt: skip
def test_a_configuration_that_cannot_be_is_not_read(plain, wanted, error, said):
    path = plain / peft_folder.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | wanted))
    assert said in not_read(plain, error).message


def test_an_adapter_for_another_network_says_where_they_part(folders, plain):
    """Shapes that happen to agree elsewhere must not hide that some do not."""
    dit = load_file(folders["dit"] / "diffusion_pytorch_model.safetensors")
    found = not_read(plain, ParameterError, "DiTTransformer2DModel", dit)
    assert "attentions.0.to_" in found.message
    assert "this DiTTransformer2DModel does not have" in found.message
    path = plain / peft_folder.CONFIG
    named = json.loads(path.read_text()) | {"base_model_name_or_path": "some/base"}
    path.write_text(json.dumps(named))
    unet = load_file(folders["unet"] / "diffusion_pytorch_model.safetensors")
    wider = {n: t.repeat(2, *[1] * (t.ndim - 1)) for n, t in unet.items()}
    found = not_read(plain, ParameterError, "UNet2DModel", wider)
    assert "weights of 16 x 16" in found.message
    assert "32 x 16" in found.message
    assert "some/base" in found.hint


def test_an_adapter_that_is_not_whole_is_refused(plain):
    weights = plain / peft_folder.WEIGHTS
    tensors = load_file(weights)
    lone = {n: t for n, t in tensors.items() if "to_q.lora_B" not in n}
    save_file(lone, weights)
    assert "do not make a product" in not_read(plain, DataError).message
    save_file({}, weights)
    assert "empty" in not_read(plain, DataError).message
    weights.unlink()
    (plain / "adapter_model.bin").write_bytes(b"pickle")
    found = not_read(plain, DataError)
    assert "adapter_model.bin is a pickle" in found.message
    assert "safe_serialization=True" in found.hint
    (plain / peft_folder.CONFIG).unlink()
    assert "adapter_config.json" in not_read(plain, DataError).message
