"""The text of --query: what is read, and that nothing is guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privplan.budget_lines import CandidateChoice
from privplan.errors import ParameterError
from privplan.line_grammar import parse, parse_all
from privplan.query_lines import (
    CandidateScores,
    LabelHistogram,
    MeanQuery,
    RecordCount,
    SecondMoments,
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("labels:50", LabelHistogram(noise_multiplier=50.0)),
        ("labels:50,3", LabelHistogram(noise_multiplier=50.0, count=3)),
        (
            "labels:50,3,votes=2",
            LabelHistogram(noise_multiplier=50.0, count=3, votes=2),
        ),
        ("labels:50,votes=2", LabelHistogram(noise_multiplier=50.0, votes=2)),
        ("count:1e2", RecordCount(noise_multiplier=100.0)),
        ("mean:20", MeanQuery(noise_multiplier=20.0)),
        (
            "mean:20,2,radius=6,count_share=0.2",
            MeanQuery(noise_multiplier=20.0, count=2, radius=6.0, count_share=0.2),
        ),
        ("moments:1.5,radius=6", SecondMoments(noise_multiplier=1.5, radius=6.0)),
        (
            "scores:50,2,candidates=8",
            CandidateScores(noise_multiplier=50.0, count=2, candidates=8),
        ),
        (
            "select:epsilon=0.05,candidates=8",
            CandidateChoice(epsilon=0.05, candidates=8),
        ),
        (
            "select:candidates=8,count=2,epsilon=0.05",
            CandidateChoice(epsilon=0.05, candidates=8, count=2),
        ),
    ],
)
def test_a_query_is_read_as_it_is_written(text, line):
    assert parse(text) == line
    assert parse_all([text, "count:100"]) == (line, RecordCount(noise_multiplier=100.0))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "names no query"),
        ("label:50", "names no query"),
        ("Labels:50", "names no query"),
        (" labels:50", "names no query"),
        ("labels", "has no noise"),
        ("labels:", "has no noise"),
        ("labels=50", "names no query"),
        ("labels:votes=2", "has no noise"),
        ("labels:nan", "not a number above 0"),
        ("labels:inf", "not a number above 0"),
        ("labels:0", "not a number above 0"),
        ("labels:-5", "not a number above 0"),
        ("labels:1e999", "not a number above 0"),
        ("labels:1_000", "not a number above 0"),
        ("labels:+5", "not a number above 0"),
        ("labels:0x10", "not a number above 0"),
        ("labels:٥", "not a number above 0"),
        ("labels:50 ", "not a number above 0"),
        ("labels:50,", "not a whole number"),
        ("labels:50,0", "not a whole number"),
        ("labels:50,1.5", "not a whole number"),
        ("labels:50,2,3", "has no name"),
        ("labels:50,votes=2,3", "has no name"),
        ("labels:50,votes=", "not a whole number"),
        ("labels:50,votes=2,votes=2", "given twice"),
        ("labels:50,vote=2", "not one of its keys"),
        ("count:50,votes=2", "not one of its keys"),
        ("mean:20,radius=-1", "not a number above 0"),
        ("scores:50", "by name"),
        ("select:0.05,8", "by name"),
        ("select:epsilon=0.05", "by name"),
        ("select:epsilon=0.05,candidates=0", "not a whole number"),
        ("select:epsilon=0,candidates=8", "not a number above 0"),
        ("select:epsilon=0.05,candidates=8,noise=3", "not one of its keys"),
    ],
)
def test_a_query_that_is_not_one_is_refused_in_two_lines(text, problem):
    """A price that was guessed is a claim that is wrong."""
    with pytest.raises(ParameterError, match=problem) as caught:
        parse(text)
    assert "\n" not in caught.value.message
    assert "write" in caught.value.hint


def test_a_share_beyond_one_is_refused_by_the_line_itself():
    with pytest.raises(ParameterError, match="count_share"):
        parse("mean:20,count_share=1.5")


@given(st.text(alphabet="labelscountmea:=,.0123456789e-+ \nnif", max_size=30))
def test_no_text_ends_in_another_error(text):
    """A typing mistake must never end in a traceback."""
    try:
        line = parse(text)
    except ParameterError:
        return
    assert line.count >= 1
