"""A plan small enough to run in a test, on the embedded digits."""

import pytest

from diffusion.data import load_private
from privplan.planner import PlanRequest, Wishes, make_plan

STEPS = 6


@pytest.fixture(scope="session")
def digits():
    return load_private("digits")


@pytest.fixture(scope="session")
def small_plan():
    return make_plan(
        PlanRequest(
            target_epsilon=3.0,
            stages="",
            wishes=Wishes(
                steps=STEPS, sample_rate=0.1, noise_multiplicity=2, synthetic_steps=3
            ),
        )
    )
