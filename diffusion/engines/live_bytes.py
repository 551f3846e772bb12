"""Counting the memory that a piece of work holds at its peak, in bytes of tensors.

Every operation that runs inside the block passes here, and the storages it returns are
counted until they are freed; a view of what was there before is not. So the count is
the same on every machine and does not see what else the process holds. Scratch space
inside one kernel is not in it.

Source: the dispatch modes of torch, `torch.utils._python_dispatch`.
"""

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside the block, counts the bytes of tensors that were made there.

    Attributes:
        now: Bytes that are alive.
        peak: The most there ever were.

    Example:
        >>> with LiveBytes() as counted:
        ...     kept = torch.zeros(1000) + 1.0
        >>> counted.now, counted.peak
        (4000, 8000)
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401  an operator of torch
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run one operation and count what it returns."""
        found = func(*args, **(kwargs or {}))
        given = {storage.data_ptr() for storage in _storages((args, kwargs))}
        for storage in _storages(found):
            if storage.data_ptr() not in given:
                self._count(storage)
        return found

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, size).atexit = False

    def _free(self, size: int) -> None:
        self.now -= size


def _storages(tree: object) -> list[torch.UntypedStorage]:
    leaves = tree_leaves(tree)
    return [leaf.untyped_storage() for leaf in leaves if isinstance(leaf, Tensor)]
