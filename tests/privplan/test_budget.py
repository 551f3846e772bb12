import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privplan.budget import PrivacyBudget, PrivacyUnit, check_delta, default_delta
from privplan.errors import ParameterError


@given(st.integers(2, 10**12))
def test_the_default_delta_is_below_one_over_n(records):
    """At delta = 1/n, publishing one random record whole would be allowed."""
    check_delta(default_delta(records), records)
    assert default_delta(records) <= records**-1.1


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan, math.inf])
def test_an_epsilon_that_promises_nothing_or_too_much_is_refused(epsilon):
    with pytest.raises(ParameterError, match="target_epsilon"):
        PrivacyBudget(target_epsilon=epsilon, target_delta=1e-5)


@pytest.mark.parametrize("delta", [0.0, 1.0, 2.0, -1e-5, math.nan])
def test_a_delta_that_is_no_probability_is_refused(delta):
    with pytest.raises(ParameterError, match="target_delta"):
        PrivacyBudget(target_epsilon=1.0, target_delta=delta)
    with pytest.raises(ParameterError, match="target_delta"):
        check_delta(delta, 100)


def test_a_delta_of_one_over_n_or_more_is_refused():
    with pytest.raises(ParameterError, match="below 1/n"):
        check_delta(1e-3, 1000)


def test_one_record_cannot_hide_and_a_unit_has_records():
    with pytest.raises(ParameterError, match="n is 1"):
        default_delta(1)
    with pytest.raises(ParameterError, match="max_records"):
        PrivacyUnit(max_records=0)
