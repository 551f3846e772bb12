"""What no engine accepts: models and losses for which "one record" has no meaning.

Every check here looks at the model's structure, or at rows drawn for the purpose, never
at private rows. So a refusal tells nothing about a record, and it comes before anything
is released. Where one row can see another there is no gradient "of a record" to clip,
and where a forward pass writes into the model, records leave by a side door.
"""

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from diffusion.engines.rows import RowLoss, Rows, record_losses
from privplan.errors import ParameterError

Named = tuple[tuple[str, nn.Parameter], ...]
PROBE_RECORDS = 5


def trainable(model: nn.Module) -> Named:
    """Return the trainable parameters with their names, in the model's order.

    Raises:
        ParameterError: A layer is refused by name, or there is nothing to train.

    Example:
        >>> [name for name, _ in trainable(torch.nn.Linear(2, 1))]
        ['weight', 'bias']
    """
    for name, module in model.named_modules():
        reason = _refused(module)
        if reason:
            raise ParameterError(
                f"layer '{name or 'model'}' ({type(module).__name__}) {reason}",
                hint="use GroupNorm or LayerNorm, and layers that keep no statistics",
            )
    named = tuple(
        (name, parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    )
    if not named:
        raise ParameterError(
            "the model has no trainable parameter",
            hint="set requires_grad on the parameters that should learn",
        )
    return named


def _refused(module: nn.Module) -> str:
    if isinstance(module, _NormBase):
        per_row = isinstance(
            module, nn.InstanceNorm1d | nn.InstanceNorm2d | nn.InstanceNorm3d
        )
        if not per_row:
            return "mixes the records of a batch"
        if module.track_running_stats:
            return "keeps statistics of the records it saw"
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm:
        return "rewrites its weights while reading them (max_norm)"
    return ""


@contextmanager
def unchanged_state(model: nn.Module) -> Iterator[None]:
    """Refuse a model whose parameters or buffers change inside the block.

    A buffer that follows the data (running means, codebooks, spectral norms) is written
    into the checkpoint without any noise.

    Raises:
        ParameterError: A parameter or buffer was written to, or replaced.
    """
    before = _state(model)
    yield
    changed = [name for name, mark in _state(model).items() if before.get(name) != mark]
    if changed:
        raise ParameterError(
            f"the forward pass changes '{changed[0]}', which no noise protects",
            hint="remove layers that keep statistics, or freeze them with eval()",
        )


def _state(model: nn.Module) -> dict[str, tuple[int, int]]:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {name: (id(tensor), tensor._version) for name, tensor in tensors}


def missing_gradient(names: Sequence[str]) -> ParameterError:
    """Say which trainable parameters got no per-record gradient, and what to do."""
    return ParameterError(
        f"no per-record gradient reaches {_listed(names)}",
        hint="freeze what the loss does not use with requires_grad_(False)",
    )


def uncovered_use(names: Sequence[str]) -> ParameterError:
    """Say which parameters are used where no rule sees them, and what to do."""
    return ParameterError(
        f"no per-record rule covers how {_listed(names)} is used",
        hint="choose the engine 'vmap', or use the parameter in a Conv2d, Linear, "
        "GroupNorm, LayerNorm or Embedding, or as a plain scale or bias",
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return shown + more


def reached(losses: Tensor, named: Named) -> tuple[str, ...]:
    """Return the names of the parameters that ordinary autograd would reach.

    Example:
        >>> layer = torch.nn.Linear(2, 1)
        >>> reached(layer(torch.ones(3, 2)).sum(), tuple(layer.named_parameters()))
        ('weight', 'bias')
    """
    seen, stack = set(), [losses.grad_fn]
    leaves: set[int] = set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            leaves.add(id(leaf))
        stack.extend(parent for parent, _ in node.next_functions)
    return tuple(name for name, parameter in named if id(parameter) in leaves)


def probe_rows(rows: Rows, records: int = PROBE_RECORDS) -> Rows:
    """Make public rows of the same shapes and types, one draw per record.

    Numbers lie between 0.5 and 1.5, which is a fair image, noise level and weight;
    whole numbers are 0, which is always a class.
    """
    return tuple(
        torch.rand(records, *tensor.shape[1:], dtype=tensor.dtype, device=tensor.device)
        + 0.5
        if tensor.is_floating_point()
        else torch.zeros(
            records, *tensor.shape[1:], dtype=tensor.dtype, device=tensor.device
        )
        for tensor in rows
    )


class Probed:
    """Remembers which model was looked at with which loss, while the model lives."""

    def __init__(self) -> None:
        self._losses: weakref.WeakKeyDictionary[nn.Module, RowLoss] = (
            weakref.WeakKeyDictionary()
        )

    def knows(self, model: nn.Module, row_loss: RowLoss) -> bool:
        """Whether this very loss was the last one looked at on this model."""
        return self._losses.get(model) is row_loss

    def remember(self, model: nn.Module, row_loss: RowLoss) -> None:
        """Do not look at this pair again."""
        self._losses[model] = row_loss


def check_rows_stand_alone(model: nn.Module, row_loss: RowLoss, rows: Rows) -> None:
    """Refuse a loss in which one row moves when another row changes.

    Only the shapes of `rows` are used: the comparison runs on public probe rows, twice
    from one random state, the second time with the first row replaced.

    Raises:
        ParameterError: Some other row's loss moved, or there is not one loss per row.
    """
    with torch.random.fork_rng(), torch.enable_grad():
        first = probe_rows(rows)
        second = tuple(_with_other_first_row(tensor) for tensor in first)
        before = _probe_losses(model, row_loss, first)[1:]
        after = _probe_losses(model, row_loss, second)[1:]
    # 1e-3: kernels that block over rows may round differently, by far less than this.
    if not torch.allclose(before, after, rtol=1e-3, atol=1e-6, equal_nan=True):
        raise ParameterError(
            "the loss of one row moves when another row changes",
            hint="let no layer and no loss mix rows: no batch statistics, no contrast",
        )


def _probe_losses(model: nn.Module, row_loss: RowLoss, rows: Rows) -> Tensor:
    torch.manual_seed(0)
    losses = row_loss(model, rows)
    return record_losses(losses, records=PROBE_RECORDS, noise_multiplicity=1).detach()


def _with_other_first_row(tensor: Tensor) -> Tensor:
    other = tensor.clone()
    if tensor.is_floating_point():
        other[0] = 30 * (other[0] + 1)
    return other
