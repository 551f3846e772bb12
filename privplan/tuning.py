"""Which parameters private steps change: the grammar of `--tune`.

    all                    every parameter
    attention              the attention of every level that has it
    embedding              what turns noise level and label into the condition
    film                   the layers that turn the condition into scales and shifts
    bias                   the shift of every layer that has one
    blocks:NAME,...        every parameter whose name begins so: down.0, middle, up.2
    lora:RANK              beside each attention projection, a product of two thin
                           matrices; the projection itself stays as it is
    lora:RANK@attention+conv    the same beside the 3x3 convolutions of the blocks too
    PART+PART              a sum of these; `attention` and `conv` right after `@` belong
                           to lora, so write other parts before it

What is not named keeps its numbers to the last bit, gets no noise, and costs no memory
for per-example gradients. Noise enters each trained parameter, so fewer of them leave
more of the signal; what they can express is less too.

Everything here looks at names and shapes alone.

Source: Liu et al. 2024, arXiv:2305.15759 (attention and embedder); Hu et al. 2022,
arXiv:2106.09685 (LoRA); Ben Zaken et al. 2022, arXiv:2106.10199 (biases); Perez et al.
2018, arXiv:1709.07871 (scales and shifts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from privplan import checks
from privplan.errors import ParameterError
from privplan.parameter_count import Layer

ALL = "all"
EMBEDDER = ("noise_in", "label", "noise_out")
_PARTS = (ALL, "attention", "embedding", "film", "bias")
_TARGETS = ("attention", "conv")
_GRAMMAR = (
    "parts are all, attention, embedding, film, bias, blocks:NAME,... and "
    "lora:RANK[@attention+conv], with + between them"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """Thin products beside layers.

    Attributes:
        rank: Columns of the first factor, rows of the second.
        targets: Beside which layers: "attention", "conv".
    """

    rank: int
    targets: tuple[str, ...] = ("attention",)

    def __post_init__(self) -> None:
        checks.count(rank=self.rank)

    @property
    def text(self) -> str:
        """As it is written in `--tune`."""
        return f"lora:{self.rank}@{'+'.join(self.targets)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What `--tune` says.

    Attributes:
        parts: Words that name a part.
        blocks: Beginnings of names.
        lora: Thin products; None for none.
    """

    parts: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    lora: Lora | None = None

    @property
    def text(self) -> str:
        """The same in one fixed spelling."""
        found = list(self.parts)
        if self.blocks:
            found.append(f"blocks:{','.join(self.blocks)}")
        if self.lora is not None:
            found.append(self.lora.text)
        return "+".join(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a tuning means for one network.

    Attributes:
        parameters: How many numbers each trained parameter of the network holds.
        adapters: Rank of the thin product beside each layer that gets one.
        adapter_parameters: Numbers in all thin products together.
    """

    parameters: Mapping[str, int]
    adapters: Mapping[str, int]
    adapter_parameters: int

    @property
    def count(self) -> int:
        """P: how many numbers private steps change."""
        return sum(self.parameters.values()) + self.adapter_parameters


def parse(text: str) -> Tuning:
    """Read the text of `--tune`.

    Raises:
        ParameterError: It is not in the grammar, or names a part twice.

    Example:
        >>> parse("film+lora:4@attention+conv").text
        'film+lora:4@attention+conv'
        >>> parse("lora:8").text
        'lora:8@attention'
    """
    parts: list[str] = []
    blocks: tuple[str, ...] = ()
    lora: Lora | None = None
    words = text.strip().split("+")
    while words:
        word = words.pop(0)
        head, colon, rest = word.partition(":")
        if word in _PARTS and word not in parts:
            parts.append(word)
        elif head == "blocks" and colon and not blocks and all(rest.split(",")):
            blocks = tuple(rest.split(","))
        elif head == "lora" and colon and lora is None:
            lora = _lora(rest, words)
        else:
            raise _unread(word)
    found = Tuning(parts=tuple(parts), blocks=blocks, lora=lora)
    if ALL in parts and found.text != ALL:
        raise ParameterError(
            f"'{found.text[:60]}' adds to 'all', which is everything already",
            hint="write --tune all alone, or leave 'all' away",
        )
    return found


def _lora(rest: str, words: list[str]) -> Lora:
    """Read RANK[@TARGET+...]; takes the targets that follow from `words`."""
    rank, at, first = rest.partition("@")
    if not rank.isascii() or not rank.isdecimal() or len(rank) > 6:
        raise _unread(f"lora:{rest}")
    targets = [first] if at else ["attention"]
    while at and words and words[0] in _TARGETS:
        targets.append(words.pop(0))
    if len(set(targets)) != len(targets) or not set(targets) <= set(_TARGETS):
        raise _unread(f"lora:{rest}")
    ordered = tuple(target for target in _TARGETS if target in targets)
    return Lora(rank=int(rank), targets=ordered)


def _unread(word: str) -> ParameterError:
    return ParameterError(
        f"--tune has '{word[:40]}', which is no part of a network, or named twice",
        hint=_GRAMMAR,
    )


def select(tuning: Tuning, layers: Sequence[Layer]) -> Selection:
    """Find what a tuning trains of one network.

    Args:
        tuning: As read by `parse`.
        layers: Those of the network.

    Raises:
        ParameterError: The network lacks a part, or a layer would be trained whole and
            get a thin product as well.

    Example:
        >>> layers = [
        ...     Layer(name="label", kind="embedding", width_in=3, width_out=8),
        ...     Layer(name="m.attention.out", kind="linear", width_in=8, width_out=8),
        ... ]
        >>> select(parse("embedding+lora:2"), layers).count
        56
    """
    found: dict[str, int] = {}
    for part in tuning.parts:
        found |= _needed(part, _of_part(part, layers), layers)
    for block in tuning.blocks:
        found |= _needed(f"blocks:{block}", _beginning(block, layers), layers)
    adapters: dict[str, int] = {}
    size = 0
    for target in tuning.lora.targets if tuning.lora else ():
        rank = tuning.lora.rank if tuning.lora else 0
        chosen = [layer for layer in layers if _is_target(target, layer)]
        _needed(f"lora@{target}", {layer.name: 1 for layer in chosen}, layers)
        for layer in chosen:
            _check_adapter(layer, rank, found)
            adapters[layer.name] = rank
            size += _adapter_size(layer, rank)
    return Selection(parameters=found, adapters=adapters, adapter_parameters=size)


def _of_part(part: str, layers: Sequence[Layer]) -> dict[str, int]:
    found: dict[str, int] = {}
    for layer in layers:
        for name, numbers in layer.parameters.items():
            inside = {
                ALL: True,
                "attention": ".attention." in name or layer.part == "attention",
                "embedding": layer.name in EMBEDDER or layer.part == "embedding",
                "film": layer.name.endswith(".block.condition") or layer.part == "film",
                "bias": name.endswith(".bias"),
            }
            if inside[part]:
                found[name] = numbers
    return found


def _beginning(block: str, layers: Sequence[Layer]) -> dict[str, int]:
    return {
        name: numbers
        for layer in layers
        for name, numbers in layer.parameters.items()
        if name.startswith(f"{block}.")
    }


def _is_target(target: str, layer: Layer) -> bool:
    if target == "attention":
        inside = ".attention." in layer.name or layer.part == "attention"
        return inside and layer.kind == "linear"
    inside = ".block." in layer.name or layer.part == "block"
    return inside and layer.kind == "conv" and layer.size > 1


def _adapter_size(layer: Layer, rank: int) -> int:
    return rank * (layer.width_in * layer.size**2 + layer.width_out)


def _check_adapter(layer: Layer, rank: int, trained: Mapping[str, int]) -> None:
    weight = f"{layer.name}.weight"
    if weight in trained:
        raise ParameterError(
            f"--tune would train '{layer.name}' whole and put a thin product beside it",
            hint="name the layer in one part only, as in lora:4 without attention",
        )
    if not _adapter_size(layer, rank) < layer.parameters[weight]:
        raise ParameterError(
            f"rank is {rank}, but beside '{layer.name}' that would be "
            f"{_adapter_size(layer, rank):,} numbers for {layer.parameters[weight]:,}",
            hint="give a lower rank, or train the layer itself",
        )


def _needed(
    what: str, found: dict[str, int], layers: Sequence[Layer]
) -> dict[str, int]:
    """Return what was found; refuse a network that has none of it."""
    if found:
        return found
    raise ParameterError(
        f"this network has no '{what[:40]}'", hint=f"it has {', '.join(_has(layers))}"
    )


def _has(layers: Sequence[Layer]) -> list[str]:
    """List the parts and blocks of a network, as they are written in `--tune`."""
    found = [part for part in _PARTS if _of_part(part, layers)]
    targets = [t for t in _TARGETS if any(_is_target(t, layer) for layer in layers)]
    found += [f"lora:RANK@{target}" for target in targets]
    blocks = dict.fromkeys(_block_of(layer) for layer in layers)
    return [*found, f"blocks:{','.join(blocks)}"]


def _block_of(layer: Layer) -> str:
    """Return the block a layer is in: "up.2" of "up.2.attention.out"."""
    if layer.part:
        return ".".join(layer.name.split(".")[:3])
    return layer.name.partition(".block.")[0].partition(".attention.")[0]
