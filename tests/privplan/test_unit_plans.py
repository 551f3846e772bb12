"""A plan for units of several records says so; older plans stay as they are."""

from dataclasses import replace

import pytest

from privplan import plan as plans
from privplan import report_mechanism, report_words
from privplan.budget import PrivacyUnit
from privplan.declared import DIGITS
from privplan.errors import DocumentError, PolicyError
from privplan.planner import PlanRequest, Wishes, make_plan

PINNED = Wishes(steps=5, sample_rate=0.05, noise_multiplicity=2)


def planned(unit=None):
    data = replace(DIGITS, embedded=None, unit=unit)
    return make_plan(PlanRequest(target_epsilon=3.0, data=data, wishes=PINNED))


@pytest.fixture(scope="module")
def by_record():
    return planned()


@pytest.fixture(scope="module")
def by_patient():
    return planned(PrivacyUnit(name="patient", max_records=4))


def resealed(plan, **parts):
    """The plan with some parts changed, and a digest that fits."""
    changed = {
        name: getattr(plan, name).model_copy(update=fields)
        for name, fields in parts.items()
    }
    return plans.to_text(plans.seal(plan.model_copy(update=changed))).encode()


def test_a_plan_by_record_has_no_word_of_units(by_record):
    """A new field in every plan would change the digest of those that exist."""
    text = plans.to_text(by_record)
    assert "unit_column" not in text
    assert plans.from_text(text.encode()).digest == by_record.digest


def test_a_unit_of_several_records_costs_what_a_record_costs(by_record, by_patient):
    """It is sampled and clipped as one, so the events are the same."""
    assert by_patient.accounting == by_record.accounting
    assert by_patient.event == by_record.event
    assert by_patient.digest != by_record.digest
    read = plans.from_text(plans.to_text(by_patient).encode())
    assert read.data.unit(read.budget) == PrivacyUnit(name="patient", max_records=4)


def test_a_bound_above_one_without_a_column_is_refused(by_record):
    """Nobody could tell which records make a unit, so each would be clipped alone."""
    text = resealed(by_record, budget={"max_records_per_unit": 2})
    with pytest.raises(PolicyError, match="charged for one"):
        plans.from_text(text)


def test_a_unit_that_is_not_the_column_is_refused(by_patient):
    text = resealed(by_patient, budget={"unit": "person"})
    with pytest.raises(DocumentError, match="is not the unit column"):
        plans.from_text(text)


def test_a_report_names_the_unit_and_its_bound(by_patient, by_record):
    said = report_words.statement(
        epsilon=1.0, delta=1e-5, adjacency="add-or-remove-one",
        unit="patient", phases=[], max_records=4,
    )  # fmt: skip
    assert "one patient of up to 4 records as the unit of privacy" in said
    assert "one gradient per 'patient'" in report_mechanism.clipping(by_patient)
    assert "one gradient per record" in report_mechanism.clipping(by_record)
    assumed = report_words.assumptions("patient")
    assert set(assumed) == set(report_words.ASSUMPTIONS)
    assert "column 'patient'" in assumed["unit-contribution"]
