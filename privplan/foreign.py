"""Our events in dp-accounting's words, for second opinions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from privplan import events
from privplan.events import Phase


def of(phase: Phase) -> Any:  # noqa: ANN401 - the library has no types
    """Return a phase's event in dp-accounting's words.

    Discrete noise becomes continuous noise of the same size. The two cost the same at
    whole Renyi orders and nowhere else, so only those may be asked about it.
    """
    import dp_accounting  # noqa: PLC0415 - slow import

    match phase.event:
        case events.GaussianEvent(noise_multiplier=noise):
            return dp_accounting.GaussianDpEvent(noise)
        case events.PoissonSampledGaussianEvent(noise_multiplier=noise):
            inner = dp_accounting.GaussianDpEvent(noise)
            return dp_accounting.PoissonSampledDpEvent(phase.event.sample_rate, inner)
        case events.PoissonSampledDiscreteGaussianEvent():
            return of(replace(phase, event=phase.event.continuous))
        case events.LaplaceEvent(noise_multiplier=noise):
            return dp_accounting.LaplaceDpEvent(noise)
        case events.RandomizedResponseEvent(epsilon=epsilon):
            flip = 2 / (1 + math.exp(epsilon))
            return dp_accounting.RandomizedResponseDpEvent(flip, 2)
        case events.NonPrivateEvent():
            return dp_accounting.NonPrivateDpEvent()
