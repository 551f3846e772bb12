"""The grammar of `--tune`, and what it means for one network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privplan import plan as plans
from privplan import plan_size
from privplan.efficiency import feasibility
from privplan.errors import DocumentError, ParameterError
from privplan.network_text import NetworkWishes
from privplan.network_text import parse as parse_network
from privplan.parameter_count import NetworkShape, layers_of, parameter_count
from privplan.plan_choice import choice_of
from privplan.planner import PlanRequest, TrainingWishes, Wishes, make_plan
from privplan.tuning import parse, select

SHAPE = NetworkShape(
    channels=1,
    height=8,
    width=8,
    classes=10,
    base_width=8,
    width_multipliers=(2, 3),
    blocks=1,
    attention_resolutions=(4,),
)
LAYERS = layers_of(SHAPE)
PARTS = ("attention", "embedding", "film", "bias")


def names(text):
    return set(select(parse(text), LAYERS).parameters)


def tuned_plan(tune, **wanted):
    return make_plan(
        PlanRequest(
            target_epsilon=2.0,
            wishes=Wishes(steps=9, **wanted),
            training=TrainingWishes(
                tune=tune, pretraining="synthetic", network=parse_network("attention=4")
            ),
        )
    )


@given(
    st.lists(st.sampled_from(PARTS), unique=True),
    st.sampled_from(["", "lora:2", "lora:2@conv", "lora:1@attention+conv"]),
)
def test_what_is_read_is_written_back_and_means_the_same(parts, lora):
    text = "+".join([*parts, *([lora] if lora else [])]) or "all"
    found = parse(text)
    assert parse(found.text) == found


@pytest.mark.parametrize(
    "text",
    ["", "everything", "bias+bias", "all+bias", "lora", "lora:", "lora:0", "lora:-1",
     "lora:2@film", "lora:2@conv+conv", "lora:2+lora:3", "blocks:", "blocks:a,,b",
     "attention+", "lora:1e3", "lora:٣", "lora:99999999"],
)  # fmt: skip
def test_what_is_not_in_the_grammar_is_refused(text):
    with pytest.raises(ParameterError) as caught:
        parse(text)
    assert caught.value.exit_code == 2


def test_a_sum_trains_what_its_parts_train_and_nothing_twice():
    """Counted twice, a layer's noise would be expected twice."""
    both = select(parse("attention+bias"), LAYERS)
    assert set(both.parameters) == names("attention") | names("bias")
    assert names("attention") & names("bias")
    apart = (
        select(parse("attention"), LAYERS).count + select(parse("bias"), LAYERS).count
    )
    assert both.count < apart


def test_all_is_everything_and_the_parts_are_what_they_say():
    whole = select(parse("all"), LAYERS)
    assert whole.count == parameter_count(SHAPE)
    assert all(".attention." in name for name in names("attention"))
    assert {n.split(".")[0] for n in names("embedding")} == {
        "noise_in", "label", "noise_out"
    }  # fmt: skip
    assert all(name.endswith(".bias") for name in names("bias"))
    assert all(".block.condition." in name for name in names("film"))
    assert names("blocks:up.0") == {
        n for n in whole.parameters if n.startswith("up.0.")
    }
    assert names("blocks:down,middle") == {
        n for n in whole.parameters if n.startswith(("down.", "middle."))
    }


def test_a_part_the_network_lacks_is_refused_with_what_it_has():
    plain = layers_of(NetworkShape(**{**_fields(), "attention_resolutions": ()}))
    with pytest.raises(ParameterError, match="no 'attention'") as caught:
        select(parse("attention"), plain)
    assert "film" in caught.value.hint
    assert "attention" not in caught.value.hint
    with pytest.raises(ParameterError, match=r"no 'blocks:down\.9'") as caught:
        select(parse("blocks:down.9"), LAYERS)
    assert "down.0,down.1,middle" in caught.value.hint
    with pytest.raises(ParameterError, match="no 'lora@attention'"):
        select(parse("lora:2"), plain)


def _fields():
    return {name: getattr(SHAPE, name) for name in SHAPE.__dataclass_fields__}


def test_a_thin_product_is_thin_and_stands_beside_frozen_layers_only():
    with pytest.raises(ParameterError, match="rank is 300"):
        select(parse("lora:300"), LAYERS)
    with pytest.raises(ParameterError, match="whole and put a thin product"):
        select(parse("attention+lora:2"), LAYERS)
    found = select(parse("bias+lora:2@attention+conv"), LAYERS)
    assert found.adapter_parameters < sum(
        layer.parameters[f"{layer.name}.weight"]
        for layer in LAYERS
        if layer.name in found.adapters
    )


def test_the_planner_counts_what_is_trained():
    """A feasibility index of all parameters would call a sound plan hopeless."""
    whole, part = tuned_plan("all"), tuned_plan("lora:2")
    counts = [plan_size.trained_parameters(p.data, p.training) for p in (whole, part)]
    assert counts[1] < counts[0] / 50
    judged = [choice_of(p, seconds_per_draw=None) for p in (whole, part)]
    assert [found.request.trained_parameters for found in judged] == counts
    assert judged[1].chosen.feasibility == pytest.approx(
        feasibility(
            records=1437,
            mu=judged[1].mu.left,
            trained_parameters=counts[1],
            efficiency=judged[1].chosen.efficiency,
        )
    )


def test_what_is_tuned_changes_the_plan_and_never_its_cost():
    whole, part = tuned_plan("all"), tuned_plan("film")
    assert part.training.tune == "film"
    assert whole.digest != part.digest
    assert whole.event == part.event
    assert whole.accounting == part.accounting


@pytest.mark.parametrize(
    ("changed", "said"),
    [("everything", "no part of a network"), ("lora:300", "rank is 300"),
     ("blocks:nowhere", "no 'blocks:nowhere'")],
)  # fmt: skip
def test_a_plan_written_by_hand_cannot_tune_what_is_not_there(changed, said):
    plan = tuned_plan("film")
    training = plan.training.model_copy(update={"tune": changed})
    forged = plans.seal(plan.model_copy(update={"training": training}))
    with pytest.raises(DocumentError, match=said):
        plans.from_text(plans.to_text(forged).encode())


def test_a_part_of_a_network_that_knows_nothing_is_not_tuned():
    with pytest.raises(ParameterError, match="it has learned nothing"):
        make_plan(PlanRequest(target_epsilon=2.0, training=TrainingWishes(tune="bias")))


def test_tuning_without_a_private_step_is_refused():
    drawn = "coarse=synthetic,context=synthetic,cleaning=synthetic"
    with pytest.raises(ParameterError, match="--tune has nothing to act on"):
        make_plan(
            PlanRequest(
                target_epsilon=2.0, stages=drawn, training=TrainingWishes(tune="bias")
            )
        )


def test_a_network_is_what_was_asked_for():
    wanted = parse_network("width=16,levels=1+2,blocks=2,attention=4")
    assert wanted == NetworkWishes(
        base_width=16,
        width_multipliers=(1, 2),
        blocks=2,
        attention_resolutions=(4,),
    )
    assert parse_network("attention=0").attention_resolutions == ()
    assert tuned_plan("all").training.network.attention_resolutions == (4,)


@pytest.mark.parametrize(
    "text",
    ["", "width", "width=", "width=7", "width=0", "width=8+16", "depth=3", "blocks=99",
     "width=16,width=16", "attention=x", "levels=0", "blocks=0"],
)  # fmt: skip
def test_a_network_that_is_none_is_refused(text):
    with pytest.raises(ParameterError) as caught:
        parse_network(text)
    assert caught.value.hint


def test_attention_where_no_level_is_gets_refused_with_the_sides_there_are():
    """A resolution that no level has would be read and ignored."""
    with pytest.raises(ParameterError, match="side 7, which no level has") as caught:
        make_plan(
            PlanRequest(
                target_epsilon=2.0,
                training=TrainingWishes(network=parse_network("attention=7")),
            )
        )
    assert "8, 4" in caught.value.hint
