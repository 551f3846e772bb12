import inspect

import pytest

from privplan import errors
from privplan.errors import BudgetExceededError, ExitCode, PrivplanError

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, PrivplanError)
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda k: k.__name__)
def test_no_error_is_a_dead_end(kind):
    """An error without a hint leaves the user with nothing to do."""
    hint = inspect.signature(kind).parameters["hint"]
    assert hint.default is inspect.Parameter.empty
    assert isinstance(kind.exit_code, ExitCode)
    assert kind.exit_code != ExitCode.OK


@pytest.mark.parametrize("kind", CLASSES, ids=lambda k: k.__name__)
def test_the_tree_in_the_docstring_shows_every_error_with_its_exit_code(kind):
    line = next(x for x in errors.__doc__.splitlines() if f" {kind.__name__} " in x)
    assert line.split(kind.__name__)[1].split()[0] == str(int(kind.exit_code))


def test_the_numbers_of_an_exceeded_budget_stay_readable():
    error = BudgetExceededError(
        "too much", stage="context", needed=7.5, target=5.0, hint="take less"
    )
    assert (error.stage, error.needed, error.target) == ("context", 7.5, 5.0)
    assert str(error) == "too much. To fix: take less"
