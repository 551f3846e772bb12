"""Plans that several tests look at."""

import pytest

from privplan.planner import PlanRequest, make_plan


@pytest.fixture(scope="session")
def staged_plan():
    """Default stages on the embedded digits at epsilon 1."""
    return make_plan(PlanRequest(target_epsilon=1.0, stages=""))
