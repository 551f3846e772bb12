"""`privplan train --devices N`: the same command once per device, on this machine.

    here ── starts ──> process 0    keeps the ledger, shows progress
      │                process 1
      │                ...
      └── keeps the store they meet in, so that it outlives any of them

Ctrl-C goes to process 0, which tells the others; they have a session of their own, so
the terminal does not interrupt them as well. The second Ctrl-C stops process 0 at once,
and the third all of them. If one process fails the others end by themselves; one that
does not, because it is frozen, is killed.

Edges: starts processes and sends them signals.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from privplan.errors import ExitCode, PeerLostError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

_HERE = "127.0.0.1"
_LOOPBACKS = ("lo", "lo0")
_PATIENCE_AFTER_FAILURE = 120.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Process = subprocess.Popen[bytes]


def start(devices: int, arguments: Sequence[str]) -> int:
    """Run a command line once per device, and return its exit code.

    Args:
        devices: How many processes.
        arguments: What was typed after the program's name.

    Raises:
        PeerLostError: A process was killed, and no other was left to say so.
    """
    from torch import distributed  # noqa: PLC0415 - heavy

    open_store = distributed.TCPStore  # type: ignore[attr-defined] # made in C++
    store = open_store(_HERE, 0, is_master=True, wait_for_workers=False)
    command = [sys.executable, "-m", "cli", *arguments]
    running = [
        subprocess.Popen(  # noqa: S603 - this program, with what was typed
            command,
            env=_environment(rank, devices, store.port),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        for rank in range(devices)
    ]
    try:
        with _signals_to(running):
            _wait(running)
    finally:
        _kill(running)
    return _code(store, [process.returncode for process in running])


def _environment(rank: int, devices: int, port: int) -> dict[str, str]:
    own = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(devices),
        "MASTER_ADDR": _HERE,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    threads = max(1, (os.cpu_count() or 1) // devices)
    usual = {"OMP_NUM_THREADS": str(threads), "TORCH_CPP_LOG_LEVEL": "ERROR"}
    for _, name in socket.if_nameindex():
        if name in _LOOPBACKS:
            usual["GLOO_SOCKET_IFNAME"] = name
    return usual | os.environ | own


@contextmanager
def _signals_to(running: Sequence[Process]) -> Iterator[None]:
    """Pass Ctrl-C and a polite kill on while the block runs."""
    seen: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) > 2:
            _kill(running)
        elif running[0].poll() is None:
            running[0].send_signal(number)

    before = {kind: signal.signal(kind, pass_on) for kind in _SIGNALS}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _wait(running: Sequence[Process]) -> None:
    """Wait for all processes; after the first that fails, not for ever."""
    ended: queue.Queue[int] = queue.Queue()
    for process in running:
        threading.Thread(
            target=lambda one: ended.put(one.wait()), args=(process,), daemon=True
        ).start()
    patience: float | None = None
    for _ in running:
        try:
            if ended.get(timeout=patience) != 0:
                patience = _PATIENCE_AFTER_FAILURE
        except queue.Empty:
            _kill(running)
            ended.get()


def _kill(running: Sequence[Process]) -> None:
    for process in running:
        if process.poll() is None:
            process.kill()
    for process in running:
        process.wait()


def _code(store: Store, codes: Sequence[int]) -> int:
    """Return the code of the process that said why; without one, the largest."""
    from diffusion.team import failure_in  # noqa: PLC0415 - imports torch

    if not any(codes):
        return ExitCode.OK
    said = failure_in(store)
    if said is not None:
        return said
    if min(codes) < 0:
        raise PeerLostError(
            "the processes of this run were killed",
            hint="resume the run: what was begun stays counted",
        )
    return max(codes)
