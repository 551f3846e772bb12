import math

import pytest

from privplan import checks
from privplan.errors import ExitCode, ParameterError

CHECKS = [
    (checks.positive, [1e-300, 1.0, 1e300], [0.0, -1.0, math.inf, math.nan]),
    (checks.non_negative, [0.0, 1.0], [-1e-9, math.inf, math.nan]),
    (checks.probability, [1e-12, 0.5], [0.0, 1.0, 1.5, -1.0, math.nan, math.inf]),
    (checks.rate, [1e-9, 1.0], [0.0, 1.0 + 1e-9, -0.5, math.nan]),
    (checks.fraction, [0.0, 0.999], [1.0, -0.1, math.nan]),
    (checks.count, [1, 2**53 - 1], [0, -1, 1.0, True, 2**53, math.nan]),
]


@pytest.mark.parametrize(
    ("check", "good", "bad"), CHECKS, ids=[check.__name__ for check, _, _ in CHECKS]
)
def test_a_check_takes_its_range_and_nothing_else(check, good, bad):
    """`if x <= 0` would let NaN through, and NaN has no epsilon."""
    for value in good:
        check(parameter=value)
    for value in bad:
        with pytest.raises(ParameterError, match="parameter is") as caught:
            check(parameter=value)
        assert caught.value.hint
        assert caught.value.exit_code == ExitCode.USAGE
