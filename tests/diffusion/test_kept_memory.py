"""Freed memory is kept for the next step, but a process does not grow without bound."""

import platform
import subprocess
import sys

import pytest

from diffusion.engines import heap
from diffusion.engines.heap import KeptMemory, resident_bytes

GLIBC = platform.libc_ver()[0] == "glibc"

COME_APART = """
import torch
from diffusion.engines.heap import KeptMemory, keep_freed_memory, resident_bytes
keep_freed_memory()
memory = KeptMemory()
assert not memory.after_step()
blocks = [torch.ones(2**20) for _ in range(300)]
last = blocks[-1]
del blocks
held = resident_bytes()
print(memory.after_step(), held - resident_bytes() > 2**30)
"""


@pytest.mark.skipif(not GLIBC, reason="only glibc keeps freed memory when told to")
def test_blocks_that_were_freed_and_kept_are_given_back():
    """A gigabyte freed below a block in use stays until it is asked for."""
    done = subprocess.run(
        [sys.executable, "-c", COME_APART],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.split() == ["True", "True"]


def test_a_process_that_needs_the_memory_is_not_asked_again_and_again(monkeypatch):
    """Giving back costs the next step fresh pages; so once per doubling."""
    sizes = iter([100, 199, 201, 180, 350, 361, 361, 700])
    monkeypatch.setattr(heap, "resident_bytes", lambda: next(sizes))
    monkeypatch.setattr(heap, "_of_c_library", lambda name: lambda pad: 1)
    memory = KeptMemory()
    asked = [memory.after_step() for _ in range(6)]
    assert asked == [False, False, True, False, True, False]


def test_the_memory_of_this_process_is_known_on_linux():
    assert (resident_bytes() > 10**6) == sys.platform.startswith("linux")
