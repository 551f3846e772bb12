"""`privplan epsilon` and `privplan calibrate`, asked about several phases."""

import json

import pytest

from privplan import accounting, questions
from privplan.budget import Adjacency
from privplan.canonical import text_down, text_up

SGD, QUERY = "sgd:0.05,1.1,500", "gaussian:20"


def asked(cli, *arguments):
    code, out, err = cli(*arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_phases_are_counted_jointly_and_each_one_alone(cli):
    """Joint accounting is below the sum; what is given back is the difference."""
    found = asked(cli, "epsilon", "--phase", SGD, "--phase", QUERY, "--delta", "1e-5")
    sgd, query = found["phases"]
    truth = accounting.epsilon(questions.as_event([SGD, QUERY]), delta=1e-5)
    assert found["epsilon"] == {"lower": truth.lower, "upper": truth.upper}
    together = found["epsilon"]["upper"]
    assert together < sgd["alone"]["upper"] + query["alone"]["upper"]
    assert query["given_back"] == together - sgd["alone"]["upper"]
    assert sgd["given_back"] == together - query["alone"]["upper"]


def test_the_short_options_are_one_sgd_phase(cli):
    short = asked(
        cli, "epsilon", "--noise-multiplier", "1.1", "--sample-rate", "0.05",
        "--steps", "500", "--delta", "1e-5",
    )  # fmt: skip
    assert short == asked(cli, "epsilon", "--phase", SGD, "--delta", "1e-5")


def test_delta_is_asked_for_by_naming_an_epsilon(cli):
    """Epsilon of that delta is the epsilon asked about."""
    found = asked(cli, "epsilon", "--phase", QUERY, "--at-epsilon", "0.1")
    assert found["at_epsilon"] == 0.1
    back = accounting.epsilon(questions.as_event(QUERY), delta=found["delta"]["upper"])
    assert back.upper == pytest.approx(0.1, rel=1e-9)


def test_what_was_read_without_noise_has_no_finite_epsilon(cli):
    found = asked(cli, "epsilon", "--phase", SGD, "--phase", "raw", "--delta", "1e-5")
    assert found["epsilon"] == {"lower": None, "upper": None}
    assert found["phases"][0]["given_back"] is None
    _, out, _ = cli("epsilon", "--phase", "raw", "--delta", "1e-5")
    assert "inf" in out


@pytest.mark.parametrize(
    ("phase", "unknown", "worse"),
    [
        ("sgd:0.05,?,500", "noise_multiplier", 1 - 1e-4),
        ("sgd:?,1.1,500", "sample_rate", 1 + 1e-4),
        ("sgd:0.05,1.1,?", "steps", None),
        ("gaussian:?,2", "noise_multiplier", 1 - 1e-4),
    ],
)
def test_calibrate_solves_for_the_question_mark_and_wastes_nothing(
    phase, unknown, worse, cli
):
    """The other phase is paid for first."""
    found = asked(
        cli, "calibrate", "--phase", QUERY, "--phase", phase, "--eps", "2",
        "--delta", "1e-5",
    )  # fmt: skip
    value = found[unknown]
    assert found["unknown"] == unknown
    assert found["phases"][1]["phase"] == phase.replace("?", str(value))
    assert found["epsilon"]["upper"] <= 2
    beyond = value + 1 if worse is None else value * worse
    event = questions.as_event([QUERY, phase.replace("?", repr(beyond))])
    assert accounting.epsilon(event, delta=1e-5).lower > 2


def test_calibrate_says_when_the_fixed_phases_alone_cost_too_much(refused):
    code, message = refused(
        "calibrate", "--phase", "gaussian:2", "--phase", "sgd:0.05,?,500",
        "--eps", "1", "--delta", "1e-5",
    )  # fmt: skip
    assert code == 3
    alone = accounting.epsilon(questions.as_event("gaussian:2"), delta=1e-5).upper
    assert f"fixed phases alone cost epsilon {text_up(alone, 4)}" in message


def test_adjacency_is_part_of_the_question(cli, refused):
    """Replace-one doubles a plain query and is refused for sampled steps."""
    options = ("--delta", "1e-5", "--adjacency", "replace-one")
    found = asked(cli, "epsilon", "--phase", "gaussian:4", *options)
    plain = asked(cli, "epsilon", "--phase", "gaussian:2", "--delta", "1e-5")
    assert found["adjacency"] == Adjacency.REPLACE_ONE
    assert found["epsilon"]["upper"] == pytest.approx(plain["epsilon"]["upper"])
    assert refused("epsilon", "--phase", SGD, *options)[0] == 5
    solve = ("calibrate", "--phase", "sgd:0.05,?,500", "--eps", "2")
    assert refused(*solve, *options)[0] == 5
    _, out, _ = cli("epsilon", "--phase", "gaussian:4", *options)
    assert "replace-one" in out


@pytest.mark.parametrize("sampling", ["shuffled", "fixed-size"])
def test_only_poisson_batches_get_a_poisson_epsilon(sampling, cli, refused):
    """A shuffled run at noise 2.380 costs 12.13 or more where Poisson costs 9.86."""
    options = ("--delta", "1e-5", "--sampling", sampling)
    code, message = refused("epsilon", "--phase", SGD, *options)
    assert code == 5
    assert "no Poisson epsilon" in message
    assert refused("calibrate", "--phase", "sgd:1,?,5", "--eps", "1", *options)[0] == 5
    unamplified = ("epsilon", "--phase", "gaussian:1.1,3", *options)
    assert cli(*unamplified, "--adjacency", "zero-out")[0] == 0
    code, message = refused(*unamplified)
    assert code == 5
    assert "one record more or less" in message


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("epsilon", "--phase", SGD), "one of --delta and --at-epsilon"),
        (
            ("epsilon", "--phase", SGD, "--delta", "1e-5", "--at-epsilon", "1"),
            "one of --delta and --at-epsilon",
        ),
        (
            ("epsilon", "--phase", SGD, "--steps", "5", "--delta", "1e-5"),
            "--steps and --phase were both given",
        ),
        (
            ("epsilon", "--sample-rate", "0.1", "--steps", "5", "--delta", "1e-5"),
            "--noise-multiplier is not given",
        ),
        (("epsilon", "--delta", "1e-5"), "there is no --phase"),
        (("epsilon", "--phase", "sgd:0.1,?,5", "--delta", "1e-5"), "unknown"),
        (("epsilon", "--phase", SGD, "--at-epsilon", "nan"), "at_epsilon is nan"),
        (("epsilon", "--phase", "magic:3", "--delta", "1e-5"), "no known kind"),
        (
            ("calibrate", "--eps", "1", "--delta", "1e-5", "--phase", SGD),
            "nothing to solve",
        ),
        (
            ("calibrate", "--eps", "1", "--delta", "1e-5", "--steps", "5"),
            "--sample-rate is not given",
        ),
        (
            (
                "calibrate", "--eps", "1", "--delta", "1e-5",
                "--phase", "gaussian:?", "--phase", "sgd:0.1,?,5",
            ),
            "2 phases leave a number open",
        ),
    ],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_refused(arguments, says, refused):
    code, message = refused(*arguments)
    assert code == 2
    assert says in message


@pytest.mark.parametrize("width", [60, 80, 140])
def test_no_number_is_cropped_at_any_width(width, cli, monkeypatch):
    """A cropped epsilon is a wrong epsilon."""
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = cli(
        "epsilon", "--phase", "sgd:0.0123456789,1.23456789,123456",
        "--phase", QUERY, "--delta", "1e-5",
    )  # fmt: skip
    event = questions.as_event(["sgd:0.0123456789,1.23456789,123456", QUERY])
    bracket = accounting.epsilon(event, delta=1e-5)
    assert code == 0
    assert text_down(bracket.lower, 6) in out
    assert text_up(bracket.upper, 6) in out
    assert max(len(line) for line in out.splitlines()) <= width
