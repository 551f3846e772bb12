"""One process among several of a run: how it meets the others, and how it fails.

torchrun or `privplan train --devices` starts every process with the same command line.
The first of them shows progress and results. Of all that fail only one speaks: the one
in which it began, or, if that one cannot, whoever missed it first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from privplan import checks
from privplan.errors import ExitCode, ParameterError, PeerLostError, PrivplanError

if TYPE_CHECKING:
    from diffusion.ranks import Ranks
    from diffusion.team import Team


def to_start(devices: int) -> bool:
    """Return whether processes must be started here, because no launcher did.

    Raises:
        ParameterError: A launcher started another number of them, or `devices` is not
            a whole number of at least 1.
    """
    checks.count(devices=devices)
    if "RANK" not in os.environ:
        return devices > 1
    started = os.environ.get("WORLD_SIZE", "1")
    if devices > 1 and started != str(devices):
        raise ParameterError(
            f"--devices is {devices}, but a launcher started another number of "
            "processes",
            hint="leave --devices away under torchrun",
        )
    return False


@contextmanager
def together(patience_seconds: float) -> Iterator[Ranks]:
    """Meet the other processes for as long as the block runs; alone there are none.

    Raises:
        PrivplanError: Of the block, on the one process that says so.
        typer.Exit: The block failed on this process too, and another one says why.
    """
    from diffusion import ranks, team  # noqa: PLC0415 - imports torch

    if not team.wanted():
        yield ranks.ALONE
        return
    joined = team.join(patience_seconds=patience_seconds)
    try:
        yield joined
    except typer.Exit:
        raise
    except (Exception, KeyboardInterrupt) as error:
        if _speaks(joined, error):
            raise
        raise typer.Exit(_code(error)) from None
    finally:
        joined.leave()


def device_here(device: str) -> str:
    """Return the device of this process: each process of a machine has its own GPU.

    Raises:
        ParameterError: There is no GPU for it.
    """
    if device != "cuda":
        return device
    import torch  # noqa: PLC0415 - heavy

    if not torch.cuda.is_available():
        raise ParameterError(
            "--device is cuda, but torch finds no GPU on this machine",
            hint="leave --device away, or install a torch that is made for its GPU",
        )
    if "RANK" not in os.environ:
        return device
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local >= torch.cuda.device_count():
        raise ParameterError(
            f"this machine has {torch.cuda.device_count()} GPUs, fewer than processes",
            hint="start as many processes on a machine as it has GPUs",
        )
    return f"cuda:{local}"


def _speaks(joined: Team, error: BaseException) -> bool:
    return joined.claim(_code(error), own=not isinstance(error, PeerLostError))


def _code(error: BaseException) -> int:
    return error.exit_code if isinstance(error, PrivplanError) else ExitCode.ERROR
