"""Keeping recipes instead of activations that are cheap to make again.

Half of what a U-Net keeps for its backward pass is the output of a normalisation or of
an activation function, whose input is kept as well. Such an output is not kept here but
made again when it is needed, from the input, by the same kernel, to the last bit:

    kept by torch       x,  norm(x),  silu(norm(x))        three feature maps
    kept here           x,  and how the others are made    one

Making them again costs a few passes over memory where a convolution costs hundreds of
products for every number, so the step is hardly slower and the per-record gradients
find room in what was saved.

A value that was made again stays until all that asked for it have it, then goes.

Source: Chen et al. 2016, arXiv:1604.06174 (rematerialisation); the hooks are those of
`torch.autograd.graph`.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from privplan.errors import ParameterError

Make = Callable[[Tensor], Tensor]


@dataclass(slots=True, eq=False)
class _Recipe:
    """How to make one activation again."""

    make: Make
    source: "_Recipe | Tensor"
    layout: tuple[object, ...]
    asked: int = 0
    made: Tensor | None = None

    def value(self) -> Tensor:
        """Return the activation; called once for each time it was asked to be kept."""
        if self.made is None:
            source = self.source
            known = source.peek() if isinstance(source, _Recipe) else source
            with torch.no_grad():
                self.made = self.make(known)
        made = self.made
        self.asked -= 1
        if self.asked <= 0:
            self.made = None
        return made

    def peek(self) -> Tensor:
        """Return the activation on behalf of another, who has not been counted."""
        self.asked += 1
        return self.value()


@dataclass(frozen=True, slots=True)
class _Kept:
    """A tensor that is kept as it is."""

    tensor: Tensor
    version: int

    def value(self) -> Tensor:
        """Return the tensor, unless somebody wrote into it."""
        if self.tensor._version != self.version:
            raise ParameterError(
                "the model overwrites a tensor in place that a gradient still needs",
                hint="use the form of the operation that returns a new tensor",
            )
        return self.tensor


class Recompute:
    """Inside the block, what was noted is kept as a recipe."""

    def __init__(self) -> None:
        self._recipes: weakref.WeakKeyDictionary[torch.UntypedStorage, _Recipe] = (
            weakref.WeakKeyDictionary()
        )
        self._hooks = saved_tensors_hooks(self._keep, _give_back)

    def note(self, output: Tensor, make: Make, source: Tensor) -> None:
        """Remember that `make(source)` is `output`, and that `source` is kept anyway.

        Args:
            output: A new tensor that owns its memory.
            make: Depends on its argument and on nothing that changes.
            source: What the backward pass of `make` keeps too.
        """
        known = self._known(source)
        self._recipes[output.untyped_storage()] = _Recipe(
            make, source.detach() if known is None else known, _layout(output)
        )

    def __enter__(self) -> "Recompute":
        self._hooks.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hooks.__exit__(kind, error, trace)

    def _known(self, tensor: Tensor) -> _Recipe | None:
        """Return the recipe of this tensor; of no view, and of none changed since."""
        recipe = self._recipes.get(tensor.untyped_storage())
        return recipe if recipe and recipe.layout == _layout(tensor) else None

    def _keep(self, tensor: Tensor) -> _Recipe | _Kept:
        recipe = self._known(tensor)
        if recipe is None:
            # Detached: a result that knows the node it is kept in is a circle that
            # Python's collector does not see, and its memory is lost.
            return _Kept(tensor.detach(), tensor._version)
        recipe.asked += 1
        return recipe


def _give_back(kept: _Recipe | _Kept) -> Tensor:
    return kept.value()


def _layout(tensor: Tensor) -> tuple[object, ...]:
    place = (tuple(tensor.shape), tensor.stride(), tensor.storage_offset())
    return (*place, tensor.dtype, tensor._version)
