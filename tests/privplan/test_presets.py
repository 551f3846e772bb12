"""Named allocations: what each name plans, and what a repair may follow."""

import json
from dataclasses import replace

import pytest

from privplan import canonical
from privplan import plan as plans
from privplan.errors import DocumentError, ParameterError
from privplan.planner import DIGITS, PlanRequest, TrainingWishes, Wishes, make_plan
from privplan.presets import PRESETS
from privplan.stages import Sharing, Source

SMALL = replace(DIGITS, records=60_000, height=28, width=28, embedded=None)
FEW = Wishes(steps=5, synthetic_steps=5)


def planned(stages, *, data=SMALL, wishes=FEW, **training):
    return make_plan(
        PlanRequest(
            target_epsilon=3.0,
            data=data,
            stages=stages,
            wishes=wishes,
            training=TrainingWishes(**training),
        )
    )


@pytest.mark.parametrize("name", PRESETS)
def test_every_name_plans_for_small_and_tiny_images(name):
    wishes = replace(FEW, synthetic_steps=None)
    for data in (SMALL, DIGITS):
        assert planned(name, data=data, wishes=wishes).private_phases


def test_fine_tuning_with_a_mixture_prepares_first_and_looks_mostly_at_the_middle():
    """As published: public images, then every stage private, three intervals."""
    made = planned("finetune-mixture")
    assert [phase.kind for phase in made.phases] == ["synthetic", "private"]
    assert made.intervals(Source.PRIVATE) == (
        (made.training.sigma_min, made.training.sigma_max),
    )
    mixture = made.training.mixture
    assert mixture is not None
    assert mixture.shares[1] == max(mixture.shares)
    assert made.training.parameterisation == "edm"
    pinned = plans.PlanMixture(cuts=(0.2, 2.0), shares=(1.0, 1.0, 1.0))
    assert planned("finetune-mixture", mixture=pinned).training.mixture == pinned


def test_the_gaussian_answers_alone_only_where_a_network_adds_nothing():
    """Measured at 28 x 28: at sigma 4 a trained network still errs less by a fifth."""
    assert planned("best").intervals(Source.GAUSSIAN) == ((10.0, 20.0),)
    assert planned("best", data=DIGITS).intervals(Source.GAUSSIAN) == ((1.0, 10.0),)


@pytest.mark.parametrize(
    ("stages", "sharing"),
    [
        ("dpdm", Sharing.SEQUENTIAL),
        ("best", Sharing.SEQUENTIAL),
        ("", Sharing.GATED),
        ("", Sharing.MIXTURE),
        (
            "coarse=synthetic,context=synthetic,cleaning=synthetic",
            Sharing.SEQUENTIAL,
        ),
    ],
)
def test_a_repair_of_what_nothing_moved_is_refused(stages, sharing):
    wishes = replace(FEW, synthetic_steps=None, steps=None, repair_steps=5)
    with pytest.raises(ParameterError, match="nothing to repair"):
        planned(stages, wishes=wishes, sharing=sharing)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["phases", 1, "name"], "repair"),
        (["training", "sharing"], "gated"),
        (["phases", 2, "name"], "again"),
    ],
)
def test_a_repair_written_by_hand_where_it_does_not_belong_is_refused(path, value):
    made = planned("", wishes=replace(FEW, repair_steps=5))
    document = json.loads(plans.to_text(made))
    del document["digest"]
    place = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    document["digest"] = canonical.digest(document)
    with pytest.raises(DocumentError, match="contradicts itself"):
        plans.from_text(json.dumps(document).encode())
