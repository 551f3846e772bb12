"""What is installed: privplan alone, or with the part that touches images.

    pip install privplan               plan, approve, verify, reports, budgets
    pip install 'privplan[diffusion]'  train, sample and evaluate as well

Whoever checks a report needs no torch, and some hundred megabytes less.
"""

from __future__ import annotations

from importlib import util

EXTRA = {
    "PIL",
    "jaxtyping",
    "opacus",
    "safetensors",
    "sklearn",
    "torch",
}
"""Modules of the extra `diffusion`, as they are imported."""

HOW_TO_INSTALL = (
    "install what touches images with: pip install 'privplan[diffusion]'; plan, "
    "verify, report and budget work without"
)


def can_train() -> bool:
    """Return whether every module that touches images is installed."""
    return all(util.find_spec(name) is not None for name in EXTRA)
