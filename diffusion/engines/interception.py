"""The mode that sends a model's own calls through the rules.

While it is active, every torch function that the model calls passes here first. A call
that uses a trainable parameter in a way some rule knows goes to that rule; every other
call runs as it is. The model itself is never touched: no hooks, no patched methods,
nothing to remove afterwards, also when an exception passes.

A parameter used in any other way keeps its ordinary autograd path, and the engine finds
that path in the graph and refuses before anything is released. So a missing rule can
never mean a missing or an unclipped gradient.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from diffusion.engines.broadcast import Broadcast
from diffusion.engines.convolution import Convolution
from diffusion.engines.embedding import Embedding
from diffusion.engines.linear import Linear
from diffusion.engines.normalisation import GroupNorm, LayerNorm
from diffusion.engines.recompute import Recompute
from diffusion.engines.tape import Rule, Tape, taped
from privplan.errors import ParameterError

Call: TypeAlias = Callable[..., object]
_ELEMENTWISE: frozenset[object] = frozenset(
    {torch.mul, torch.add, torch.sub, torch.div}
    | {Tensor.mul, Tensor.add, Tensor.sub, Tensor.div}
    | {Tensor.mul_, Tensor.add_, Tensor.sub_, Tensor.div_}
    | {torch.multiply, torch.subtract, torch.divide, torch.true_divide}
)
_Sizes = int | Sequence[int]


class Interception(TorchFunctionMode):
    """Inside the block, known uses of trainable parameters write to a tape.

    Args:
        tape: Where they write.
        recompute: Told of activations that are cheap to make again.
    """

    def __init__(self, tape: Tape, recompute: Recompute) -> None:
        super().__init__()
        self._tape, self._recompute = tape, recompute
        self._layers: dict[object, Callable[..., Tensor | None]] = {
            functional.conv2d: self._conv2d,
            functional.linear: self._linear,
            functional.group_norm: self._group_norm,
            functional.layer_norm: self._layer_norm,
            functional.embedding: self._embedding,
            functional.silu: self._silu,
            functional.scaled_dot_product_attention: _one_head,
            functional.batch_norm: _refuse_batch_norm,
            torch.batch_norm: _refuse_batch_norm,
        }

    def __torch_function__(
        self,
        func: Call,
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run one call of the model, through a rule where there is one."""
        kwargs = kwargs or {}
        layer = self._layers.get(func)
        if layer is not None:
            found = layer(*args, **kwargs)
            if found is not None:
                return found
        elif func in _ELEMENTWISE:
            args = self._by_row(args)
        return func(*args, **kwargs)

    def _taped(self, x: Tensor, rule: Rule, *parameters: Tensor | None) -> Tensor:
        self._tape.use(*parameters)
        return taped(x, rule, self._tape)

    def _fits(self, x: Tensor, *parameters: Tensor | None) -> bool:
        """Whether a rule is needed, and the input's leading dimension is the rows."""
        needed = any(self._tape.trains(parameter) for parameter in parameters)
        return needed and self._holds_rows(x)

    def _holds_rows(self, x: Tensor) -> bool:
        return x.dim() > 1 and x.shape[0] == self._tape.rows

    def _passes(self, x: Tensor, *parameters: Tensor | None) -> bool:
        """Whether a frozen layer, with rows for its input, lets a gradient through.

        A rule keeps less for that than torch does. A weight that is computed from
        trained ones is not frozen.
        """
        frozen = not any(p is not None and p.requires_grad for p in parameters)
        return frozen and x.requires_grad and self._holds_rows(x)

    def _conv2d(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: _Sizes = 1,
        padding: _Sizes | str = 0,
        dilation: _Sizes = 1,
        groups: int = 1,
    ) -> Tensor | None:
        used = self._fits(input, weight, bias) or self._passes(input, weight, bias)
        if not used or input.dim() != 4:
            return None
        steps = _pair(dilation)
        if padding == "same":
            input, margins = _padded(input, weight, steps)
        elif isinstance(padding, str):
            margins = (0, 0)
        else:
            margins = _pair(padding)
        rule = Convolution(
            weight=weight,
            bias=bias,
            stride=_pair(stride),
            padding=margins,
            dilation=steps,
            groups=groups,
        )
        return self._taped(input, rule, weight, bias)

    def _linear(
        self, input: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> Tensor | None:
        if not self._fits(input, weight, bias):
            return None
        return self._taped(input, Linear(weight=weight, bias=bias), weight, bias)

    def _group_norm(
        self,
        input: Tensor,
        num_groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor | None:
        if not (self._fits(input, weight, bias) or self._passes(input, weight, bias)):
            return None
        rule = GroupNorm(groups=num_groups, weight=weight, bias=bias, eps=eps)
        y = self._taped(input, rule, weight, bias)
        self._recompute.note(y, rule.again, input)
        return y

    def _layer_norm(
        self,
        input: Tensor,
        normalized_shape: Sequence[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor | None:
        rows_too = len(normalized_shape) >= input.dim()
        if rows_too or not self._fits(input, weight, bias):
            return None
        rule = LayerNorm(
            shape=tuple(normalized_shape), weight=weight, bias=bias, eps=eps
        )
        return self._taped(input, rule, weight, bias)

    def _silu(self, input: Tensor, inplace: bool = False) -> Tensor | None:  # noqa: FBT001, FBT002  torch's signature
        if inplace or not input.requires_grad:
            return None
        y = functional.silu(input)
        self._recompute.note(y, functional.silu, input)
        return y

    def _embedding(
        self,
        input: Tensor,
        weight: Tensor,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,  # noqa: FBT001, FBT002  torch's signature
        sparse: bool = False,  # noqa: FBT001, FBT002  torch's signature
    ) -> Tensor | None:
        special = max_norm is not None or scale_grad_by_freq or sparse
        rows = input.dim() > 0 and input.shape[0] == self._tape.rows
        if special or not rows or not self._tape.trains(weight):
            return None
        rule = Embedding(weight=weight, padding_index=padding_idx)
        return self._taped(input, rule, weight)

    def _by_row(self, args: Sequence[object]) -> tuple[object, ...]:
        """Give each row its own view of a bare parameter in an elementwise call."""
        rows = [a for a in args if isinstance(a, Tensor) and not self._tape.trains(a)]
        fits = len(rows) == 1 and rows[0].dim() > 0
        if not fits or rows[0].shape[0] != self._tape.rows:
            return tuple(args)
        return tuple(self._own_view(argument, rows[0]) for argument in args)

    def _own_view(self, argument: object, rows: Tensor) -> object:
        if not isinstance(argument, Tensor) or not self._tape.trains(argument):
            return argument
        rule = Broadcast(parameter=argument, dimensions=rows.dim())
        return self._taped(rows, rule, argument) if rule.fits() else argument


def _refuse_batch_norm(*_args: object, **_kwargs: object) -> None:
    raise ParameterError(
        "the model calls batch_norm, which mixes the records of a batch",
        hint="use GroupNorm or LayerNorm",
    )


def _one_head(*parts: object, **options: object) -> Tensor | None:
    """Give plain attention over (rows, tokens, features) its missing head.

    Without that dimension torch takes the route that forms and keeps every weight of
    the attention; with it, one that keeps none and is faster.
    """
    if options or len(parts) != 3:
        return None
    query, key, value = (part for part in parts if isinstance(part, Tensor))
    if any(part.dim() != 3 for part in (query, key, value)):
        return None
    return functional.scaled_dot_product_attention(
        query[:, None], key[:, None], value[:, None]
    ).squeeze(1)


def _pair(size: _Sizes) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    return (size[0], size[-1])


def _padded(
    x: Tensor, weight: Tensor, dilation: tuple[int, int]
) -> tuple[Tensor, tuple[int, int]]:
    """Pad as "same" asks; where the two sides differ, the larger half goes last."""
    rows, columns = (
        step * (size - 1) for step, size in zip(dilation, weight.shape[2:], strict=True)
    )
    if rows % 2 or columns % 2:
        sides = [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2]
        return functional.pad(x, sides), (0, 0)
    return x, (rows // 2, columns // 2)
