"""Several processes of one run, over torch.distributed.

    join      meet the others, as torchrun or `privplan train --devices` set it up
    Team      what `diffusion.ranks` asks for, by messages
    claim     of all processes that fail, the first to say so is the one that speaks

Messages go over gloo, through main memory, also where the network is on a GPU: the
noise is drawn there, and the sum has to be there for it. What is sent is a step's keys,
clipped sums without noise, and noisy sums; all but the last are private, and gloo does
not encrypt. So the wire between the processes is inside the trusted place, as the
memory of one process is.

Nobody waits for ever. A process that ends closes its connections, and whoever waits for
it is told at once; a process that is frozen or cut off is given `patience_seconds`.
Either way the others end too, with nothing that is not counted.

Edges: opens network connections; reads RANK, WORLD_SIZE and MASTER_* as torch does.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from diffusion.ranks import Ranks
from privplan import checks
from privplan.errors import IntegrityError, PeerLostError

PATIENCE_SECONDS = 600.0
_GRACE = timedelta(seconds=3)
_FAILED = "privplan/failed"
_SHORT = 64
_HEAD = 9  # one byte for "well", eight for the length
_DIGEST = 32


def wanted() -> bool:
    """Return whether a launcher started this process as one of several."""
    count = os.environ.get("WORLD_SIZE", "1")
    return "RANK" in os.environ and count.isdigit() and int(count) > 1


def join(*, patience_seconds: float = PATIENCE_SECONDS) -> "Team":
    """Meet the other processes of a run.

    Args:
        patience_seconds: How long a silent process is waited for, now and later.

    Raises:
        ParameterError: `patience_seconds` is not positive and finite.
        PeerLostError: Not all of them came.
    """
    checks.positive(patience_seconds=patience_seconds)
    patience = timedelta(seconds=patience_seconds)
    try:
        store, rank, count = next(rendezvous("env://", timeout=patience))
        store.set_timeout(patience)
        dist.init_process_group(
            "gloo", store=store, rank=rank, world_size=count, timeout=patience
        )
    except (RuntimeError, ValueError):
        raise PeerLostError(
            "the processes of this run did not all meet",
            hint="start them all with one launcher, as docs/many-machines.md shows",
        ) from None
    return Team(store, rank, count)


def failure_in(store: Store) -> int | None:
    """Return the exit code of the process that said why a run failed, if one did."""
    if not store.check([_FAILED]):
        return None
    return int(store.get(_FAILED).decode().split("/")[0])


class Team(Ranks):
    """One of several processes that carry out a run together."""

    def __init__(self, store: Store, rank: int, count: int) -> None:
        super().__init__(rank, count)
        self._store = store

    def told(self, ask: Callable[[], int]) -> int:
        """See `Ranks.told`."""
        said = self.given(lambda: int(ask()).to_bytes(8, "big", signed=True))
        return int.from_bytes(said, "big", signed=True)

    def given(self, make: Callable[[], bytes]) -> bytes:
        """See `Ranks.given`."""
        made, short = b"", torch.zeros(_SHORT, dtype=torch.uint8)
        if self.first:
            with _failure_told(short):
                made = make()
            head = b"\1" + len(made).to_bytes(8, "big") + made[: _SHORT - _HEAD]
            short[: len(head)] = _tensor(head)
        _carried(lambda: dist.broadcast(short, src=0))
        head = short.numpy().tobytes()
        if head[0] == 0:
            raise _lost()
        length = int.from_bytes(head[1:_HEAD], "big")
        if length <= _SHORT - _HEAD:
            return head[_HEAD : _HEAD + length]
        whole = _tensor(made) if self.first else torch.empty(length, dtype=torch.uint8)
        _carried(lambda: dist.broadcast(whole, src=0))
        return whole.numpy().tobytes()

    def most(self, *values: int) -> tuple[int, ...]:
        """See `Ranks.most`."""
        together = torch.tensor(values, dtype=torch.int64)
        _carried(lambda: dist.all_reduce(together, op=dist.ReduceOp.MAX))
        return tuple(together.tolist())

    def differing(self, **digests: str) -> tuple[str, ...]:
        """See `Ranks.differing`."""
        own = _tensor(b"".join(bytes.fromhex(digest) for digest in digests.values()))
        found = [torch.empty_like(own) for _ in range(self.count)]
        _carried(lambda: dist.all_gather(found, own))
        unlike = torch.stack([one != found[0] for one in found]).any(dim=0)
        parts = unlike.reshape(-1, _DIGEST).any(dim=1).tolist()
        return tuple(name for name, one in zip(digests, parts, strict=True) if one)

    def total(self, parts: Sequence[Tensor], *, drawn: bytes) -> list[Tensor]:
        """See `Ranks.total`."""
        tag = int.from_bytes(hashlib.sha256(drawn).digest()[:6], "big")
        tags = torch.zeros(self.count, dtype=torch.float64)
        tags[self.rank] = tag
        flat = torch.cat([*(part.detach().flatten().double().cpu() for part in parts),
                          tags])  # fmt: skip
        _carried(lambda: dist.reduce(flat, dst=0))
        if not self.first:
            return list(parts)
        if not bool((flat[-self.count :] == tag).all()):
            raise IntegrityError(
                "the processes of this run did not draw the same batch; their sum was "
                "thrown away, and the step stays counted",
                hint="run the same privplan on every machine, then resume the run",
            )
        return _unflattened(flat, parts)

    def published(
        self, make: Callable[[], list[Tensor]], like: Sequence[Tensor]
    ) -> list[Tensor]:
        """See `Ranks.published`."""
        size = sum(part.numel() for part in like)
        flat = torch.zeros(size + 1, dtype=torch.float64)  # the last says "well"
        if self.first:
            with _failure_told(flat):
                made = make()
            flat[:size] = torch.cat([part.flatten().double().cpu() for part in made])
            flat[size] = 1.0
        _carried(lambda: dist.broadcast(flat, src=0))
        if not bool(flat[size] == 1.0):
            raise _lost()
        return _unflattened(flat, like)

    def claim(self, code: int, *, own: bool) -> bool:
        """Return whether this process is the one to say why the run failed.

        Args:
            code: Its exit code.
            own: Whether the failure began here, and not with the loss of another; who
                only lost another lets that one speak first.
        """
        try:
            if not own:
                with suppress(RuntimeError):
                    self._store.wait([_FAILED], _GRACE)
            mine = f"{code}/{self.rank}"
            spoken: bytes = self._store.compare_set(_FAILED, "", mine)
        except RuntimeError:
            return True  # nobody is left to ask
        return spoken.decode() == mine

    def leave(self) -> None:
        """Close the connections; whoever still waits for this process is told."""
        with suppress(RuntimeError):
            dist.destroy_process_group()


@contextmanager
def _failure_told(message: Tensor) -> Iterator[None]:
    """Let the others know, by a message of zeros, that the first process failed."""
    try:
        yield
    except BaseException:
        with suppress(RuntimeError):
            dist.broadcast(message, src=0)
        raise


def _carried(send: Callable[[], object]) -> None:
    try:
        send()
    except RuntimeError:
        raise _lost() from None


def _lost() -> PeerLostError:
    return PeerLostError(
        "another process of this run failed, ended or fell silent",
        hint="see what it said; then resume the run, on any number of processes: what "
        "was begun stays counted",
    )


def _tensor(text: bytes) -> Tensor:
    return torch.frombuffer(bytearray(text), dtype=torch.uint8)


def _unflattened(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    sizes = [part.numel() for part in like]
    pieces = torch.split(flat[: sum(sizes)], sizes)
    return [
        piece.view(part.shape).to(part.device)
        for piece, part in zip(pieces, like, strict=True)
    ]
