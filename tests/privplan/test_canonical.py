import json
import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privplan import canonical
from privplan.errors import DocumentError, ParameterError

FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(FINITE)
def test_a_number_survives_its_decimal_text(value):
    """A digit lost between plan and verifier would be another noise multiplier."""
    assert canonical.read_decimal(canonical.decimal_text(value)) == value


@given(JSON)
def test_the_bytes_of_a_value_do_not_depend_on_how_it_was_written(value):
    written_otherwise = json.loads(json.dumps(value, indent=3, ensure_ascii=True))
    assert canonical.canonical_bytes(value) == canonical.canonical_bytes(
        written_otherwise
    )


@given(FINITE.filter(lambda x: abs(x) < 1e300), st.integers(1, 12))
def test_rounding_up_never_goes_below_and_rounding_down_never_above(value, digits):
    assert canonical.round_up(value, digits) >= value
    assert canonical.round_down(value, digits) <= value


@given(st.floats(0, 1e6), st.integers(0, 9))
def test_a_printed_epsilon_is_never_below_the_epsilon(value, places):
    assert Decimal(canonical.text_up(value, places)) >= Decimal(value)
    assert Decimal(canonical.text_down(value, places)) <= Decimal(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_no_decimal_text(value):
    with pytest.raises(ParameterError, match="cannot be written"):
        canonical.decimal_text(value)


@pytest.mark.parametrize(
    "text",
    [
        "nan",
        "inf",
        "1e400",
        "0x1p3",
        " 1",
        "1_0",
        "8,0",
        "",
        "+1",
        "01",
        ".",
        "1",
        "0.50",
        "1E5",
        "0.30000000000000001",
    ],
)
def test_text_that_is_no_plain_decimal_number_is_refused(text):
    with pytest.raises(ParameterError, match="not a decimal number"):
        canonical.read_decimal(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"epsilon": 1, "epsilon": 9}', "occurs twice"),
        (b'{"epsilon": NaN}', "not a JSON number"),
        (b'{"epsilon": Infinity}', "not a JSON number"),
        (b'{"epsilon": 1e400}', "overflows"),
        (b"[1, 2]", "not an object"),
        (b"\xff\xfe", "not a plan"),
        (b"plain text", "not a plan"),
        (b"", "not a plan"),
        (b"[" * 100_000, "not a plan"),
        (b" " * (canonical.MAX_DOCUMENT_BYTES + 1), "more than"),
    ],
)
def test_a_document_that_two_readers_could_read_differently_is_refused(text, says):
    with pytest.raises(DocumentError, match=says):
        canonical.read_json(text, what="plan")


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert canonical.file_digest(path) == known


def test_a_value_that_is_not_json_has_no_canonical_bytes():
    for value in (math.nan, 2**60, {1: 2}, object()):
        with pytest.raises(ParameterError, match="no canonical JSON form"):
            canonical.canonical_bytes(value)
