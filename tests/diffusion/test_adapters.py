"""Training a part: what moves, what it costs, and that no record counts twice."""

import copy
import dataclasses
import hashlib

import pytest
import torch

from diffusion.adapters import (
    adapt,
    load_plain,
    merged,
    plain_name,
    train_all,
    train_only,
)
from diffusion.ema import Ema
from diffusion.engines import folded
from diffusion.engines.record_gradients import clip_and_sum
from diffusion.network import NetworkConfig, build
from diffusion.per_example import ENGINES, Clipping, engine
from privplan.errors import ParameterError
from privplan.parameter_count import NetworkShape, layers_of
from privplan.tuning import parse, select

SHAPE = NetworkShape(
    channels=1,
    height=8,
    width=8,
    classes=3,
    base_width=8,
    width_multipliers=(1, 2),
    blocks=1,
    attention_resolutions=(4,),
)
LAYERS = layers_of(SHAPE)
TUNINGS = (
    "attention",
    "film",
    "bias",
    "embedding",
    "blocks:middle,up.0",
    "lora:2",
    "lora:2@attention+conv",
    "bias+lora:1@conv",
)
LOOSE = Clipping(max_grad_norm=1e6)


def stirred(network, *, seed=3):
    """Give every parameter some value: a zero would hide a gradient that is lost."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


def tuned(text):
    """A small network of which a part is trained."""
    selection = select(parse(text), LAYERS)
    network = build(
        NetworkConfig(**{f: getattr(SHAPE, f) for f in SHAPE.__dataclass_fields__}),
        seed=1,
    )
    adapt(network, selection.adapters, seed=2)
    train_only(network, selection)
    return stirred(network)


def rows(records, draws, *, size=1.0):
    generator = torch.Generator().manual_seed(7)
    many = records * draws
    pictures = torch.randn(many, 1, 8, 8, generator=generator)
    noise = torch.randn(many, generator=generator)
    labels = torch.randint(0, 4, (records,), generator=generator).repeat(draws)
    return pictures, noise, labels, size * torch.ones(many)


def row_loss(model, parts):
    pictures, noise, labels, weight = parts
    answer = model(pictures, noise, labels)
    return weight * (answer - pictures).square().mean(dim=(1, 2, 3))


def clipped(name, network, parts, records, draws, clipping):
    return engine(name).clipped_sum(
        network,
        row_loss,
        parts,
        records=records,
        noise_multiplicity=draws,
        clipping=clipping,
    )


def by_hand(network, parts, records, draws, bound):
    """One record after the other: mean over its draws, gradient, clip, add."""
    trained = [p for p in network.parameters() if p.requires_grad]
    total = [torch.zeros_like(p, dtype=torch.float64) for p in trained]
    for record in range(records):
        own = tuple(part[record::records] for part in parts)
        found = torch.autograd.grad(row_loss(network, own).mean(), trained)
        norm = sum(float(g.double().square().sum()) for g in found) ** 0.5
        factor = min(1.0, bound / norm)
        total = [t + factor * g.double() for t, g in zip(total, found, strict=True)]
    return total


def hashes(network):
    return {
        plain_name(name): hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
        for name, tensor in network.state_dict().items()
    }


def agree(found, expected):
    """1e-5: float32 sums in another order; of the norm of each parameter."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.linalg.vector_norm(one - other) <= (
            1e-5 * torch.linalg.vector_norm(other) + 1e-9
        )


@pytest.mark.parametrize("attention", [(), (4,), (8, 4)])
def test_the_planners_list_of_layers_is_the_networks(attention):
    """A part chosen by names the network does not have would train something else."""
    shape = NetworkShape(
        channels=3,
        height=7,
        width=8,
        classes=5,
        base_width=8,
        width_multipliers=(1, 2, 1),
        blocks=2,
        attention_resolutions=attention,
        guide_channels=1,
    )
    network = build(
        NetworkConfig(**{f: getattr(shape, f) for f in shape.__dataclass_fields__}),
        seed=0,
    )
    listed = {}
    for layer in layers_of(shape):
        listed |= layer.parameters
    assert listed == {n: p.numel() for n, p in network.named_parameters()}


@pytest.mark.parametrize("text", TUNINGS)
def test_as_many_numbers_are_trained_as_the_planner_counts(text):
    network = tuned(text)
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert trained == select(parse(text), LAYERS).count


@pytest.mark.parametrize("text", TUNINGS)
def test_the_folded_engine_takes_a_part_as_plain_autograd_does(text):
    """A thin product without a rule would train on nothing, or unclipped."""
    network, parts = tuned(text), rows(3, 2)
    found = clipped("folded", network, parts, 3, 2, Clipping(max_grad_norm=0.1))
    agree(found, by_hand(network, parts, 3, 2, 0.1))
    assert all(float(gradient.abs().max()) > 0 for gradient in found)


@pytest.mark.parametrize("name", [n for n in ENGINES if n not in {"auto", "folded"}])
def test_every_engine_agrees_on_thin_products(name):
    network, parts = tuned("bias+lora:1@attention+conv"), rows(3, 2)
    expected = clipped("folded", network, parts, 3, 2, Clipping(max_grad_norm=0.1))
    agree(clipped(name, network, parts, 3, 2, Clipping(max_grad_norm=0.1)), expected)


@pytest.mark.parametrize("draws", [1, 2, 8])
def test_more_draws_of_a_record_give_it_no_more_weight(draws):
    """Clipped copy by copy, K draws weigh K * C against noise that was made for C."""
    network = tuned("lora:2@attention+conv")
    parts = rows(1, draws, size=1e4)
    found = clipped("folded", network, parts, 1, draws, Clipping(max_grad_norm=0.5))
    norm = sum(float(g.square().sum()) for g in found) ** 0.5
    # 1e-4: float32 rounding of a sum whose length is C if the record is clipped
    assert norm == pytest.approx(0.5, rel=1e-4)


def test_merging_gives_the_same_answers_without_the_detour():
    network = tuned("lora:2@attention+conv")
    plain = merged(network)
    pictures, noise, labels, _ = rows(4, 1)
    with torch.no_grad():
        before, after = (model(pictures, noise, labels) for model in (network, plain))
    # 1e-5: two float32 products added before instead of after a layer
    assert torch.allclose(before, after, rtol=1e-5, atol=1e-5)
    assert {n: p.shape for n, p in plain.named_parameters()} == {
        n: p.shape for n, p in build(network.config, seed=0).named_parameters()
    }
    assert any(".low." in name for name, _ in network.named_parameters())


def test_a_fresh_thin_product_changes_no_answer():
    """Otherwise private training would begin from something that nobody trained."""
    config = NetworkConfig(**{f: getattr(SHAPE, f) for f in SHAPE.__dataclass_fields__})
    plain = stirred(build(config, seed=1))
    adapted = copy.deepcopy(plain)
    adapt(adapted, select(parse("lora:2@attention+conv"), LAYERS).adapters, seed=2)
    pictures, noise, labels, _ = rows(4, 1)
    with torch.no_grad():
        assert torch.equal(
            plain(pictures, noise, labels), adapted(pictures, noise, labels)
        )
    assert hashes(merged(adapted)) == hashes(plain)


def test_averages_cover_what_is_trained_and_leave_the_rest_alone():
    network = tuned("film")
    frozen = {n for n, p in network.named_parameters() if not p.requires_grad}
    ema = Ema(network, 0.9)
    before = hashes(network)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    ema.update()
    kept = {n.removeprefix("average.") for n in ema.state()} - {"updates"}
    assert kept == {n for n, p in network.named_parameters() if p.requires_grad}
    averaged = ema.averaged()
    for name in frozen:
        digest = hashlib.sha256(averaged[name].numpy().tobytes()).hexdigest()
        assert digest == before[name]


@pytest.mark.parametrize("text", ["attention", "film", "lora:2@attention+conv"])
def test_what_is_frozen_costs_no_memory_for_per_example_gradients(text, monkeypatch):
    """Per-record gradients of all layers are what makes private training large."""
    kept = []

    def watched(gradients, shapes, clipping):
        tensors = [
            value
            for entry in gradients
            for field in dataclasses.fields(entry)
            if isinstance(value := getattr(entry, field.name), torch.Tensor)
        ]
        kept.append(sum(t.numel() * t.element_size() for t in tensors))
        return clip_and_sum(gradients, shapes, clipping)

    monkeypatch.setattr(folded, "clip_and_sum", watched)
    part, parts = tuned(text), rows(16, 1)
    clipped("folded", part, parts, 16, 1, LOOSE)
    trained = [p for p in part.parameters() if p.requires_grad]
    train_all(part)
    clipped("folded", part, parts, 16, 1, LOOSE)
    few, many = kept
    # 16 float32 gradients and float64 norms of what is trained, and nothing else
    assert few <= 16 * (4 * sum(p.numel() for p in trained) + 8 * len(trained))
    assert few < many / 3


def test_weights_go_into_a_network_with_thin_products_and_out_again():
    plain = stirred(build(tuned("film").config, seed=5), seed=6)
    network = tuned("lora:2")
    low = {n: p.clone() for n, p in network.named_parameters() if ".low." in n}
    load_plain(network, plain.state_dict())
    found = hashes(network)
    assert {n: found[n] for n in hashes(plain)} == hashes(plain)
    for name, tensor in low.items():
        assert torch.equal(network.get_parameter(name), tensor)


def test_weights_of_another_network_are_refused():
    network = tuned("lora:2")
    other = build(
        NetworkConfig(channels=1, height=8, width=8, classes=4, base_width=8), seed=0
    )
    before = hashes(network)
    with pytest.raises(ParameterError, match="another shape"):
        load_plain(network, other.state_dict())
    assert hashes(network) == before


def test_what_cannot_be_adapted_or_tuned_is_refused():
    network = tuned("film")
    with pytest.raises(ParameterError, match="GroupNorm"):
        adapt(network, {"norm_out": 2}, seed=0)
    smaller = build(
        NetworkConfig(channels=1, height=8, width=8, classes=3, base_width=8,
                      width_multipliers=(1,), blocks=1), seed=0
    )  # fmt: skip
    with pytest.raises(ParameterError, match="has no parameter"):
        train_only(smaller, select(parse("attention"), LAYERS))


def test_public_phases_train_the_network_and_not_its_thin_products():
    network = tuned("lora:2")
    train_all(network)
    frozen = {n for n, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {
        n for n, _ in network.named_parameters() if ".low." in n or ".high." in n
    }
