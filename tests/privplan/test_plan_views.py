"""A plan shows itself in a notebook, from public numbers and without a plot library."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from privplan import plan_compare, plan_plot, svg
from privplan.canonical import text_up
from privplan.planner import PlanRequest, make_plan
from privplan.stages import Source
from privplan.summary import phase_costs

ROOT = Path(__file__).parents[2]
DRAWN = "coarse=synthetic,context=synthetic,cleaning=synthetic"
FREE = PlanRequest(target_epsilon=1.0, stages=DRAWN)


def parsed(text):
    """Our own text, which has to be well formed."""
    return ElementTree.fromstring(text)  # noqa: S314


@pytest.fixture(scope="module")
def plan():
    return make_plan(PlanRequest(target_epsilon=1.0, stages="best"))


def test_the_table_says_what_the_accountant_says(plan):
    """Two routes to one number: the table's text and the costs themselves."""
    rows = {row[0]: row for row in plan.table().rows}
    for cost in phase_costs(plan, trained_parameters=1):
        if cost.reads_private_records:
            assert rows[cost.name][4] == text_up(cost.alone, 4)
            assert f"{cost.event.noise_multiplier:g}" in rows[cost.name]


def test_text_and_html_hold_the_same_numbers(plan):
    table = plan.table()
    html = table._repr_html_()
    assert plan._repr_html_() == html
    bare = re.sub(r"<[^>]*>", " ", html)
    assert set(re.findall(r"\d+\.\d+", str(table))) == set(
        re.findall(r"\d+\.\d+", bare)
    )
    parsed(f"<div>{html}</div>")


def test_a_plan_without_private_steps_shows_too():
    free = make_plan(FREE)
    assert "epsilon 0" in str(free.table())
    parsed(free.plot().svg)


def test_the_picture_ends_at_the_epsilon_of_the_plan(plan, tmp_path):
    figure = plan.plot()
    root = parsed(figure._repr_svg_())
    lines = [e for e in root.iter() if e.tag.endswith("polyline")]
    growth, target = (
        [tuple(map(float, spot.split(","))) for spot in line.get("points").split()]
        for line in lines[:2]
    )
    # Half a pixel: coordinates are rounded to a tenth, epsilon reaches its target.
    assert growth[-1][1] == pytest.approx(target[-1][1], abs=0.5)
    heights = [y for _, y in growth]
    assert heights == sorted(heights, reverse=True)
    figure.save(tmp_path / "plan.svg")
    assert (tmp_path / "plan.svg").read_text() == figure.svg + "\n"
    assert len(repr(figure)) < 100


def test_the_same_plan_gives_the_same_bytes(plan):
    assert plan.plot().svg == plan.plot().svg


def test_text_in_a_picture_is_escaped():
    chart = svg.bar_chart("<script>", rows=[("a & b", 1.0, '"')])
    parsed(svg.side_by_side([chart], alt='"<'))
    assert "<script>" not in chart


def test_showing_a_plan_loads_no_plot_library_and_no_torch():
    code = (
        "import sys\n"
        "from privplan import PlanRequest, make_plan\n"
        "plan = make_plan(PlanRequest(target_epsilon=1.0))\n"
        "plan.plot(), plan.table(), plan._repr_html_()\n"
        "print({'matplotlib', 'torch', 'rich'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "set()"


def test_the_stages_of_several_plans_have_a_row_each(plan):
    drawn = plan_plot.stages({"mine": plan, "free": make_plan(FREE)})
    parsed(drawn.svg)
    for word in ("mine", "free", "gaussian", "private", "synthetic"):
        assert f">{word}</text>" in drawn.svg


def test_every_source_has_a_colour_and_keeps_it(plan):
    """Blue for private in one chart and for synthetic in the next would mislead."""
    assert set(plan_plot._SOURCES) == {source.value for source in Source}
    both, alone = (
        plan_plot.stages(x).svg
        for x in ({"a": plan, "b": make_plan(FREE)}, {"a": plan})
    )
    for picture in (both, alone):
        assert (
            re.search('fill="(#[0-9a-f]+)"/><text[^>]*>private<', picture)[1]
            == "#1f5fa8"
        )


def test_differences_are_the_rows_of_the_comparison_that_differ(plan):
    other = make_plan(PlanRequest(target_epsilon=2.0, stages="best"))
    table = plan_compare.differences({"one": plan, "two": other})
    rows = [row for row in plan_compare.compare([plan, other]) if row.differs]
    assert table.rows == tuple((row.name, *row.values) for row in rows)
    assert not plan_compare.differences({"one": plan, "same": plan}).rows
    assert str(plan_compare.differences({"one": plan, "same": plan}))
