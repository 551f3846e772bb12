"""Keeping freed memory for the next step, where the C library would give it back.

A step allocates per-record gradients of hundreds of megabytes and frees them again.
glibc returns such blocks to the kernel at once, and the next step pays for fresh pages:
on a CPU up to a tenth of a private step. Told to keep them, it does not. The process
then stays as large as its largest step, which is what it needs anyway.

Edges: this changes the allocator of the whole process. Performance only.
Source: the GNU C library manual, "Malloc Tunable Parameters" (mallopt).
"""

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Ask the C library to reuse freed memory; call it once, before training.

    Returns:
        Whether it agreed: True with glibc on Linux, False elsewhere.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
