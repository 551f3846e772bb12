"""Networks of the library diffusers, as this project's denoisers.

    UNet2DModel              classes through its own embedding
    UNet2DConditionModel     classes as two tokens that every cross-attention sees;
                             their embedding is learned here. With one token alone
                             each softmax is 1 whatever it is asked: queries and keys
                             would get noise and no gradient. Or captions: a label
                             picks a row of a table of encodings, which is never
                             trained and in no state (readers.captions)
    DiTTransformer2DModel    classes through its own embedding; its own label dropout,
                             which would differ from call to call, is switched off

Each is wrapped to take (images, timestep, labels) and to answer row by row. Dropout is
switched off: a record's gradient must be the same whoever is beside it, and noise is
added anyway. Where a network also predicts a variance, that half is left alone.

The library is an optional extra; it is imported when such a network is built, and
nothing is ever fetched: the configuration is in the plan, the weights in a checkpoint.

Source: Rombach et al. 2022, arXiv:2112.10752 (cross-attention); Peebles & Xie 2023,
arXiv:2212.09748 (DiT).
"""

import json
import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from diffusion.engines.refusals import trainable
from diffusion.network import NetworkConfig
from privplan.borrowed import PUBLIC_TEXTS, PlanBorrowed, PlanText, layer_text
from privplan.errors import ParameterError, PolicyError
from privplan.parameter_count import Layer

_TOKENS = 2
_TOKEN_SCALE = 0.02
_EMBEDDERS = ("time_embedding", "class_embedding", "token", "norm1.emb")
_FILM = ("time_emb_proj", "norm1.linear", "proj_out_1")
_SQUARE = (1, 1)


class BorrowedNetwork(nn.Module):
    """A network of diffusers behind the calls of our own; made by `build`.

    Attributes:
        net: The network itself, as its library makes it.
        token: The classes as tokens, where the network takes a text instead.
        config: Shape of the images, and the number of classes.
        texts: What each label of captions is shown as, (labels, tokens * width); made
            up until a text encoder fills it in. None where labels are classes.
    """

    texts: Tensor | None

    def __init__(
        self,
        net: nn.Module,
        kind: str,
        config: NetworkConfig,
        text: PlanText | None = None,
    ) -> None:
        super().__init__()
        self.net, self.kind, self.config = net, kind, config
        self.token: nn.Embedding | None = None
        self._tokens = _TOKENS if text is None else text.tokens
        self.register_buffer("texts", _made_up(text), persistent=False)
        if kind == "UNet2DConditionModel" and text is None:
            width = int(_settings(net)["cross_attention_dim"])
            self.token = nn.Embedding(config.classes + 1, _TOKENS * width)
        for module in net.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            if hasattr(module, "dropout_prob"):
                module.dropout_prob = 0.0  # type: ignore[assignment]

    def forward(
        self,
        x: Float[Tensor, "rows channels height width"],
        c_noise: Float[Tensor, " rows"],
        labels: Int64[Tensor, " rows"],
    ) -> Float[Tensor, "rows channels height width"]:
        """Return the network's raw output; row i depends on row i alone.

        Args:
            x: Scaled noisy images.
            c_noise: The timestep.
            labels: Classes; `config.classes` means "no class". Or of captions.
        """
        x = x.contiguous()  # some kernels trust the strides they are given
        given: dict[str, Any] = {"return_dict": False}
        shown = None if self.token is None else self.token(labels)
        if self.texts is not None:
            shown = functional.embedding(labels, self.texts)
        if shown is not None:
            given["encoder_hidden_states"] = shown.unflatten(1, (self._tokens, -1))
        elif self.kind == "DiTTransformer2DModel" or _settings(self.net).get(
            "num_class_embeds"
        ):
            given["class_labels"] = labels
        answer: Tensor = self.net(x, timestep=c_noise, **given)[0]
        return answer[:, : self.config.channels].contiguous()


def _made_up(text: PlanText | None) -> Tensor | None:
    """Return public numbers in the place of encodings: for some caption, and none."""
    if text is None:
        return None
    generator = torch.Generator().manual_seed(0)
    return torch.randn(PUBLIC_TEXTS, text.tokens * text.width, generator=generator)


def build(
    borrowed: PlanBorrowed, config: NetworkConfig, text: PlanText | None = None
) -> BorrowedNetwork:
    """Build the network a plan describes.

    Its first weights follow from the plan's public seed; the global random state is
    left as it was.

    Args:
        borrowed: As in the plan.
        config: Shape of the images, and the number of classes.
        text: What encodes captions, where labels pick captions.

    Raises:
        PolicyError: diffusers is not installed, or makes another network of it.
        ParameterError: A layer has no gradient of one record; the message names it.
    """
    network = assemble(
        borrowed.kind, json.loads(borrowed.config), config, borrowed.seed, text
    )
    if layer_table(network) != borrowed.layers:
        raise PolicyError(
            f"the diffusers installed here makes another {borrowed.kind} of this "
            "configuration than the plan describes",
            hint="install the version the checkpoint was made with",
        )
    return network


def assemble(
    kind: str,
    settings: dict[str, Any],
    config: NetworkConfig,
    seed: int,
    text: PlanText | None = None,
) -> BorrowedNetwork:
    """Build a network from its configuration alone; arguments and errors as `build`."""
    try:
        import diffusers  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise PolicyError(
            f"a {kind} is a network of diffusers, which is not installed",
            hint="install it with pip install privplan[diffusers]",
        ) from error
    classes = {
        "UNet2DModel": diffusers.UNet2DModel,
        "UNet2DConditionModel": diffusers.UNet2DConditionModel,
        "DiTTransformer2DModel": diffusers.DiTTransformer2DModel,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            made = classes[kind].from_config(settings)
        except (KeyError, TypeError, ValueError, NotImplementedError) as error:
            raise ParameterError(
                f"diffusers cannot make a {kind} of this configuration",
                hint="save it again with a newer diffusers: save_pretrained(folder)",
            ) from error
        network = BorrowedNetwork(made, kind, config, text)
        if network.token is not None:
            nn.init.normal_(network.token.weight, std=_TOKEN_SCALE)
    trainable(network)
    return network.train()


def layer_table(network: nn.Module) -> tuple[str, ...]:
    """Return every layer of a network that holds parameters, as a plan writes them."""
    return tuple(layer_text(layer) for layer in _layers(network))


def _layers(network: nn.Module) -> Iterator[Layer]:
    for name, module in network.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if not own:
            continue
        part = _part(network, name)
        found = _layer(name, module, own, part)
        if found is not None and found.parameters == _sizes(name, own):
            yield found
            continue
        for short, numbers in _sizes(name, own).items():
            yield Layer(
                name=short, kind="bare", width_in=numbers, width_out=1, part=part
            )


def _layer(
    name: str, module: nn.Module, own: dict[str, nn.Parameter], part: str
) -> Layer | None:
    """Describe a layer that a plan has a word for; None for any other."""
    bias = "bias" in own
    match module:
        case nn.Conv2d() if module.groups == 1 and _is_square(module):
            return Layer(
                name=name,
                kind="conv",
                width_in=module.in_channels,
                width_out=module.out_channels,
                size=module.kernel_size[0],
                bias=bias,
                part=part,
            )
        case nn.Linear():
            widths = module.in_features, module.out_features
            kind = "linear"
        case nn.Embedding():
            widths, kind = (module.num_embeddings, module.embedding_dim), "embedding"
        case nn.GroupNorm() | nn.LayerNorm():
            widths, kind = (1, own["weight"].numel() if "weight" in own else 1), "norm"
        case _:
            return None
    return Layer(
        name=name,
        kind=kind,  # type: ignore[arg-type]  # one of the three words above
        width_in=widths[0],
        width_out=widths[1],
        bias=bias,
        part=part,
    )


def _is_square(module: nn.Conv2d) -> bool:
    rows, columns = module.kernel_size
    return rows == columns


def _sizes(name: str, own: dict[str, nn.Parameter]) -> dict[str, int]:
    return {
        f"{name}.{short}" if name else short: math.prod(parameter.shape)
        for short, parameter in own.items()
    }


def _part(network: nn.Module, name: str) -> str:
    """Say what a layer belongs to, in the words of `--tune`."""
    if any(word in name for word in _FILM):
        return "film"
    if any(word in name for word in _EMBEDDERS):
        return "embedding"
    steps = name.split(".")
    above = [
        type(network.get_submodule(".".join(steps[:end]))).__name__
        for end in range(1, len(steps))
    ]
    if "Attention" in above:
        return "attention"
    return "block" if "ResnetBlock2D" in above else ""


def _settings(net: nn.Module) -> dict[str, Any]:
    """Return a diffusers network's own configuration."""
    return dict(net.config)  # type: ignore[arg-type]  # a frozen dict, there
