"""Every word a plan or report uses can be explained."""

import re
from pathlib import Path

import pytest

from privplan import events, glossary, ledger_checks, oversight, verify
from privplan.errors import ParameterError
from privplan.glossary import EVENT_FIELDS, FIELDS, TERMS
from privplan.glossary_screen import ALIASES, STEPS
from privplan.planner import PlanRequest, make_plan
from privplan.render_report import comparing


@pytest.mark.parametrize("entry", glossary.entries(), ids=lambda entry: entry.name)
def test_every_term_and_field_has_words_and_a_source(entry):
    """A new field of the schema has no words until somebody writes them."""
    assert len(entry.words) > 10, entry.name
    assert entry.source


def leaves(value, path):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{path}.{name}"
            yield from leaves(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, path)


def test_every_key_of_a_real_plan_is_found():
    """The schema is walked by types; a real document is the other route."""
    made = make_plan(PlanRequest(target_epsilon=1.0, stages="best"))
    for path in leaves(made.model_dump(mode="json"), "plan"):
        assert glossary.explain(path.split(".")[-1]), path


def test_the_words_are_about_fields_that_exist():
    """Words for a field that is gone would explain nothing."""
    paths = {entry.name for entry in glossary.entries()}
    last = {path.split(".")[-1] for path in paths}
    for model, fields in FIELDS.items():
        for name in fields:
            assert name in last, f"{model}.{name}"


def test_every_key_of_an_event_is_explained():
    step = events.PoissonSampledGaussianEvent(sample_rate=0.1, noise_multiplier=1.0)
    tree = events.ComposedEvent(events=(events.SelfComposedEvent(event=step, count=3),))
    names = {path.split(".")[-1] for path in leaves(events.to_json(tree), "event")}
    assert names <= set(EVENT_FIELDS)


@pytest.mark.parametrize("asked", ["Sample Rate", "sample-rate", "SAMPLE_RATE"])
def test_the_way_a_word_is_written_does_not_matter(asked):
    assert glossary.explain(asked)[0].name == "sample rate"


def test_a_misspelt_word_is_told_what_is_near():
    with pytest.raises(ParameterError) as refusal:
        glossary.explain("epsilom")
    assert "epsilon" in refusal.value.hint


def test_the_titles_of_the_plan_tables_are_terms():
    for title in ("epsilon", "so far", "noise to signal", "feasibility", "what if"):
        assert title in TERMS


def test_explain_prints_words_and_source(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    code, out, _ = cli("explain", "noise_multiplier")
    assert code == 0
    assert "arXiv:1607.00133" in out
    assert "event.noise_multiplier" in out
    assert max(len(line) for line in out.splitlines()) <= 60


def test_explain_asks_for_a_term_or_the_list(cli, refused):
    assert refused("explain")[0] == 2
    assert refused("explain", "epsilon", "--list")[0] == 2
    assert refused("explain", "gobbledygook")[0] == 2
    code, out, _ = cli("explain", "--list")
    assert code == 0
    assert "report.claim.epsilon.upper" in out


PRINTED = [
    "F", "F0", "noise/signal", "back*", "eps alone", "so far", "rate", "steps", "noise",
    "sigma", "learns from", "unit", "draws", "efficiency", "accountant", "risk",
    "add-or-remove-one", "noise draws per record", "expected batch", "clipping norm",
    "parameterisation", "edm", "sharing", "optimiser", "trained parameters",
    "second opinion", "anchor", "intent", "settle", "granted", "taken", "left",
]  # fmt: skip


@pytest.mark.parametrize("word", PRINTED)
def test_a_word_that_a_table_prints_can_be_asked_for_as_it_is_printed(word):
    """Who reads 'back*' in a plan does not know that the term is 'given back'."""
    assert glossary.explain(word)


def test_every_other_name_of_a_term_leads_somewhere():
    for name, stands_for in ALIASES.items():
        assert glossary.explain(name) == glossary.explain(stands_for)


def test_every_numbered_step_a_program_takes_is_explained_and_no_other():
    """A step that is new has no words until somebody writes them."""
    modules = (verify, oversight, ledger_checks, comparing)
    sources = "".join(Path(module.__file__).read_text("utf-8") for module in modules)
    taken = set(re.findall(r'"([VLP]\d+)"', sources))
    assert taken == set(STEPS)
    for step in taken:
        assert glossary.explain(step.lower())[0].name == step
