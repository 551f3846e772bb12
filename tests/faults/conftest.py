"""Fixtures of the injected faults."""

import pytest

from tests.diffusion.conftest import (  # noqa: F401 - fixtures
    digits,
    flown_once,
    kinds,
    small,
    small_plan,
)
from tests.faults.catching import Caught
from tests.privplan.conftest import staged_plan  # noqa: F401 - a fixture


@pytest.fixture
def caught(request):
    """Who caught the fault of this test.

    A marked test that tells nobody who caught its fault has not shown anything.
    """
    found = Caught()
    yield found
    assert found.by, "nobody caught this fault"
    request.node.user_properties.append(("caught", tuple(found.by)))
