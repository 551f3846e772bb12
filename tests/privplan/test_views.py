"""What an officer's objects show in a notebook: public facts, all of them, escaped."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from privplan import ledger, register, views
from privplan.canonical import text_down, text_up
from privplan.errors import DocumentError, PolicyError
from privplan.findings import Finding, Outcome, Verdict
from privplan.keys import Role
from privplan.register_prospect import prospect
from privplan.register_run import Charge, settle
from privplan.report_schema import Predicate
from privplan.run_report import write_report
from privplan.runs import read_runs
from privplan.svg import Row, Span, alone, span_chart
from privplan.tables import Table
from tests.privplan import registers as make

KINDS = ("one", "two")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A register with two runs: one reported, one just begun, without a report."""
    folder = tmp_path_factory.mktemp("kept")
    path, plans = make.begun(folder), {}
    for name, epsilon in (("a", 1.0), ("b", 1.5)):
        plans[name] = make.plan(epsilon=epsilon, steps=8)
        run = folder / "runs" / name
        run.parent.mkdir(exist_ok=True)
        charge = Charge(register=path, refundable=name == "b")
        make.run_of(run, plans[name], charge)
        (run / "plan.json").write_text(plans[name].model_dump_json())
    for phase in plans["a"].phases:
        make.train(
            folder / "runs" / "a" / "ledger.sqlite", plans["a"], phase.name, phase.steps
        )
    signer = make.signer(folder, Role.TRAINER)
    write_report(plans["a"], folder / "runs" / "a", signer)
    return folder, plans, signer.public


@pytest.fixture(scope="module")
def runs(kept):
    folder, _, trainer = kept
    return read_runs(folder / "runs", trusted=[trainer])


def html(shown):
    """What a notebook is given, checked to be well formed."""
    text = shown._repr_html_()
    ElementTree.fromstring(f"<div>{text}</div>")  # noqa: S314 - our own text
    return text


def test_text_in_a_table_is_escaped_and_no_number_is_cropped():
    """A data set called <script> must not run in the officer's notebook."""
    bad = "<script>alert('x')</script>"
    table = Table(caption=bad, titles=(bad, "n"), rows=((bad, "0.123456789"),))
    assert bad not in html(replace(table, notes=(bad,)))
    assert html(table).count("&lt;script&gt;") == 3
    assert "0.123456789" in str(table)


def test_a_ledger_shows_what_was_allowed_and_begun_and_no_key(kept, runs):
    folder, plans, _ = kept
    content = ledger.read(folder / "runs" / "a" / "ledger.sqlite")
    shown = html(content)
    rows = {row[0]: row for row in views.ledger(content).rows}
    for phase in plans["a"].phases:
        assert rows[phase.name][2:4] == (f"{phase.steps:,}", f"{phase.steps:,}")
    assert content.head.hash in shown
    secrets = [content.data_key.hex(), content.entries[0].body["data_commitment"]]
    everything = shown + html(runs) + html(runs["a"].verdict.predicate)
    assert not [secret for secret in secrets if secret in everything]


def test_a_confession_in_a_ledger_or_report_is_not_overlooked(runs):
    ledger_, said = runs["b"].ledger, runs["a"].verdict.predicate
    assert "VOID: unsafe_seed" in html(replace(ledger_, unsafe=("unsafe_seed",)))
    withdrawn = said.model_copy(update={"verdict": "no-claim", "reasons": ("why",)})
    assert "NO CLAIM" in html(withdrawn)
    assert "<p>why</p>" in html(withdrawn)
    assert "NO CLAIM" not in html(said)


def test_a_report_shows_its_claim_and_every_exclusion_that_is_open(runs):
    said = runs["a"].verdict.predicate
    assert isinstance(said, Predicate)
    shown = html(said)
    assert text_up(said.claim.epsilon.upper, 4) in shown
    for part in said.scope.excludes:
        assert (part.what in shown) == (part.accounted == "no")


def test_a_verdict_is_loud_about_what_failed(runs):
    good = runs["a"].verdict
    assert views.verdict(good).caption.startswith("VERIFIED")
    broken = Finding(number="V7", name="epsilon", outcome=Outcome.FAILED, text="<no>")
    bad = Verdict(findings=(*good.findings, broken), predicate=None, keyids=())
    assert "NOT VERIFIED: V7" in html(bad)
    assert "FAILED" in html(bad)
    assert views.failures(bad).rows == (("V7", "epsilon", "FAILED", "<no>"),)
    assert views.failures(good).caption.startswith("VERIFIED")
    assert not views.failures(good).rows
    assert "NOT VERIFIED" in html(Verdict(findings=(), predicate=None, keyids=()))


def test_runs_side_by_side_say_what_their_ledgers_and_reports_say(kept, runs):
    _, plans, _ = kept
    first, second = runs.table().rows
    assert len(runs) == 2
    assert (first[2], second[2]) == ("verified", "none")
    assert first[5] == text_up(runs["a"].claimed, 4)
    assert second[5] == "-"
    assert runs["b"].claimed is None
    assert second[6] == "0.0000"
    assert first[6] == first[5]
    assert first[1].startswith("entry ")
    assert runs["a"].plan == plans["a"]
    with pytest.raises(DocumentError, match="no run 'c'"):
        runs["c"]


def test_a_report_that_a_stranger_signed_counts_as_none(kept, tmp_path):
    """A claim under a key the reader does not trust is hearsay."""
    folder, _, _ = kept
    stranger = make.signer(tmp_path, Role.TRAINER).public
    found = read_runs(folder / "runs", trusted=[stranger])["a"]
    assert found.claimed is None
    assert "NOT VERIFIED: V1" in str(read_runs(folder / "runs", trusted=[stranger]))


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(DocumentError, match="no run in"):
        read_runs(tmp_path, trusted=[])


def test_a_register_and_its_data_set_show_what_is_left(kept):
    folder, _, _ = kept
    content = register.read(folder / "register.sqlite")
    known = register.named(content, "digits")
    left = text_down(known.left[0], 4)
    for shown in (html(content), html(known), known.plot().svg):
        assert left in shown
    ElementTree.fromstring(known.plot().svg)  # noqa: S314
    assert len(views.data_set(known).rows) == 2
    key = content.tally.by_commitment(next(iter(known.commitments)))
    assert key is known
    assert next(iter(known.commitments)) not in html(content) + html(known)
    known.void = "the key was revoked"
    assert "VOID: the key was revoked" in html(known)


@pytest.mark.parametrize("granted", [{}, {"composition": "rdp-filter"}], ids=str)
def test_a_prospect_is_what_a_reservation_then_does(tmp_path, granted):
    """Two routes: asked before, and reserved; whatever way runs add up."""
    path, made = make.begun(tmp_path, epsilon=3.5, **granted), make.plan(epsilon=1.5)
    fits = []
    for number in range(4):
        asked = prospect(path, "digits", make.variant(made, number))
        fits.append(asked.fits)
        if not asked.fits:
            break
        with register.Register.open(path) as book:
            book.reserve(make.variant(made, number), make.DATA)
        now = register.named(register.read(path), "digits")
        assert (asked.together, asked.left) == (now.taken, now.left)
    assert fits[0] is True
    if not granted:
        assert fits == [True, True, False]


def test_a_prospect_that_does_not_fit_says_why_and_takes_nothing(tmp_path):
    path = make.begun(tmp_path, epsilon=1.0)
    before = register.left(path, "digits")
    found = prospect(path, "digits", make.plan(epsilon=1.5))
    assert not found.fits
    assert found.left == before == register.left(path, "digits")
    assert "it does not fit" in html(found)
    assert "To fix: plan again with --eps 1" in str(found)
    with pytest.raises(PolicyError, match="knows no data set"):
        prospect(path, "x-rays", make.plan())


def test_what_an_early_end_gives_back_shows(kept, tmp_path):
    path, made = make.begun(tmp_path), make.plan(epsilon=1.5)
    run = make.run_of(tmp_path / "run", made, Charge(register=path, refundable=True))
    before = register.named(register.read(path), "digits").left
    settle(run, Charge(register=path))
    known = register.named(register.read(path), "digits")
    assert known.left[0] > before[0]
    assert views.data_set(known).rows[0][2] == "settled"


def test_spans_lie_where_their_numbers_are():
    """On a logarithmic axis a decade is as wide as any other."""
    spans = tuple(
        Span(low=low, high=10 * low, kind=kind)
        for low, kind in ((0.1, "one"), (1.0, "two"))
    )
    chart = span_chart("<t>", x="x", rows=[Row(label="a", spans=spans)], kinds=KINDS)
    ElementTree.fromstring(alone(chart, alt='"'))  # noqa: S314
    boxes = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', chart)[2:]
    (first, wide), (second, also) = [tuple(map(float, box)) for box in boxes]
    assert wide == pytest.approx(also, abs=0.2)  # rounded to a tenth of a pixel
    assert second == pytest.approx(first + wide + 1, abs=0.2)
    assert "<t>" not in chart
