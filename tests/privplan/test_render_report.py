"""The page of a report: what it shows is what was signed, and nothing else."""

import base64
import dataclasses
import hashlib
import inspect
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from diffusion.local import Local
from privplan import profile, report_words, risk, summary, tradeoff
from privplan.canonical import read_decimal
from privplan.errors import DocumentError, IntegrityError, PolicyError
from privplan.render_report import (
    cards,
    comparing,
    embedding,
    figures,
    html,
    markdown,
    page,
    release,
    source,
)
from privplan.render_report.parts import Section, Table
from privplan.render_report.source import LocalNumber
from privplan.report_schema import json_schema
from tests.privplan.signed_reports import copied, key_in, plan_of, predicate_of, signed

ROOT = Path(__file__).parents[2]
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&{{7*7}}\n# h | [l](http://e)<!--"
SCHEMA = json_schema()
RATE = "true_positive_rate"
LOCAL = (LocalNumber(name="fid_to_real", value=17.25),)


@pytest.fixture(scope="module", autouse=True)
def drawn_once():
    """Compute each curve once; a page is made some fifty times here."""
    with pytest.MonkeyPatch.context() as patch:
        for room, name in ((tradeoff, "curve"), (profile, "deltas"), (risk, RATE)):
            patch.setattr(room, name, remembered(getattr(room, name)))
        yield


def remembered(function):
    known = {}

    def ask(*given, **named):
        question = repr((given, named))
        if question not in known:
            known[question] = function(*given, **named)
        return known[question]

    return ask


@pytest.fixture(scope="module")
def folder(tmp_path_factory, asked_once):
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def key(folder):
    return key_in(folder)


@pytest.fixture(scope="module")
def predicate(folder):
    return predicate_of(folder, plan_of())


@pytest.fixture(scope="module")
def said(predicate, key):
    return source.read(signed(predicate, key))


@pytest.fixture(scope="module")
def text(said):
    return html.write(page.reported(said))


class Tags(HTMLParser):
    """Every tag with its attributes, and the text between tags."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def visible(text):
    return " ".join(" ".join(Tags(text.split("<nav")[0]).texts).split())


# --- what an officer sees first


def test_the_first_page_says_everything_a_decision_needs(text, said):
    first = visible(text)
    predicate = said.predicate
    assert predicate.claim.statement in first
    for needed in ("unit of privacy", "Budget", "What is released", "What must hold"):
        assert needed in first
    for assumption in predicate.assumptions.values():
        assert assumption in first
    for exclusion in report_words.EXCLUSIONS:
        assert exclusion.replace("-", " ") in first
    for line in ("approve", "reject", "name", "date", "signature", said.digest):
        assert line in first


def test_a_page_does_not_call_itself_verified(text):
    """A forged page would say so too."""
    assert "must end in VERIFIED" in visible(text)
    assert text.count("VERIFIED") == 1


def test_what_is_claimed_is_rounded_up_and_what_is_left_is_rounded_down(said):
    first = page.reported(said).decision
    claimed = dict((name, value) for value, name, _ in first.figures)["epsilon"]
    left = dict(first.budget)["left of it"].split()[-1]
    exact = said.predicate.claim.epsilon
    assert exact.upper <= float(claimed) <= exact.upper + 1e-4
    assert float(left) <= exact.target - exact.upper


def test_a_report_without_a_claim_says_so_everywhere(folder, key, tmp_path):
    """A page that shows an epsilon nobody claims would be believed."""
    predicate = predicate_of(tmp_path, plan_of(), unsafe=True)
    made = page.reported(source.read(signed(predicate, key)))
    first = visible(html.write(made))
    assert "No privacy claim is made" in first
    assert "seed" in first
    assert "differentially private" not in first
    assert "finds at most" not in first
    assert markdown.write(made).startswith("# No privacy claim is made\n")
    for card in (cards.model_card(made), cards.data_card(made)):
        head = front_matter(card)
        assert head["claim"] is False
        assert "epsilon" not in head


def test_an_unfinished_run_says_so_on_the_first_page(key, tmp_path):
    predicate = predicate_of(tmp_path, plan_of(), begun=7)
    made = page.reported(source.read(signed(predicate, key)))
    assert "The run is not finished: 11 of 54 steps" in visible(html.write(made))


# --- figures and tables against the accountant


@pytest.mark.parametrize("top", [0.0101, 0.5, 1.0, 7.99, 8.01, 9.44, 9.99, 10.0, 88.0])
def test_every_axis_has_between_four_and_ten_marks(top):
    """An axis up to 9.44, a claim of epsilon 8 with its margin, had none and failed."""
    marks = figures._ticks(top)
    assert 4 <= len(marks) <= 10
    assert marks[0][0] == 0
    assert marks[-1][0] <= top


def table(made, anchor, place=0):
    (section,) = [s for s in made.sections if s.anchor == anchor]
    return [b for b in section.blocks if isinstance(b, Table)][place]


def test_every_phase_costs_on_the_page_what_the_accountant_says(said):
    plan = said.predicate.plan
    rows = table(page.reported(said), "spending").rows
    assert [row[0] for row in rows] == [phase.name for phase in plan.phases]
    counted = {}
    for phase, row in zip(plan.phases, rows, strict=True):
        counted[phase.name] = phase.steps
        spent = summary.spent(plan, counted)
        assert spent <= float(row[8]) <= spent + 1.01e-4  # rounded up to 4 digits


def drawing(text, name):
    return next(d for d in text.split("<svg")[1:] if f'id="{name}-title"' in d)


def test_the_claim_lies_on_the_drawn_profile(text):
    """The line comes from the whole profile, the mark from the claim alone."""
    svg = drawing(text, "profile")
    path = re.search(r'class="line main" d="M([^"]*)"', svg)[1]
    line = [tuple(map(float, point.split())) for point in path.split("L")]
    x = float(re.search(r'cx="([\d.]+)"', svg)[1])
    y = float(re.search(r'cy="([\d.]+)"', svg)[1])
    left = max(point for point in line if point[0] <= x)
    right = min(point for point in line if point[0] >= x)
    share = (x - left[0]) / max(right[0] - left[0], 1e-9)
    # 1 pixel of 234: the line is straight between 33 points, the profile is not
    assert left[1] + share * (right[1] - left[1]) == pytest.approx(y, abs=1.0)


def test_the_drawn_trade_off_is_never_below_guessing_and_ends_at_one(text):
    path = re.findall(r'class="line main" d="M([^"]*)"', drawing(text, "tradeoff"))[0]
    line = [tuple(map(float, point.split())) for point in path.split("L")]
    (x0, _), (x1, y1) = line[0], line[-1]
    bottom = 250.0  # of the plot, in pixels
    assert x0 < 71
    for x, y in line:
        guess = bottom - (x - x0) / (x1 - x0) * (bottom - y1)
        assert y <= guess + 0.2  # a tenth of a pixel is lost twice to rounding


@pytest.mark.parametrize("stages", ["", "coarse=gaussian@1.0,context=synthetic"])
def test_every_allocation_of_stages_can_be_shown(stages, key, tmp_path):
    predicate = predicate_of(tmp_path, plan_of(stages))
    made = page.reported(source.read(signed(predicate, key)))
    assert html.write(made).count("<svg") == 3


def test_every_figure_has_a_title_a_description_and_named_axes(text):
    drawings = text.split("<svg")[1:]
    assert len(drawings) == 3
    for svg in drawings:
        ids = re.search(r'aria-labelledby="([\w-]+) ([\w-]+)"', svg)
        assert f'<title id="{ids[1]}">' in svg
        assert f'<desc id="{ids[2]}">' in svg
        assert len(re.findall(r'class="label"', svg)) == 2


# --- one file that asks nobody


def test_the_page_names_no_address_and_loads_nothing(text):
    tags = Tags(text).tags
    assert {tag for tag, _ in tags} & {
        "link",
        "img",
        "iframe",
        "object",
        "base",
    } == set()
    for tag, attributes in tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
        if tag == "script":
            assert attributes["type"] == "application/vnd.dsse+json"
    assert "@import" not in text
    assert "url(" not in text


def test_the_policy_forbids_everything_but_the_one_style_sheet(text):
    policy = next(
        a["content"]
        for t, a in Tags(text).tags
        if a.get("http-equiv") == "Content-Security-Policy"
    )
    style = text.split("<style>")[1].split("</style>")[0]
    found = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{found}'; base-uri 'none'; "
        "form-action 'none'"
    )


def test_the_same_report_gives_the_same_page_also_from_a_page(text, said, predicate):
    assert html.write(page.reported(said)) == text
    again = source.read(text.encode())
    assert html.write(page.reported(again)) == text
    assert again.said == predicate


def test_the_page_is_small(text):
    assert len(text.encode()) < 150_000


# --- hostile text


def allowed(predicate):
    from privplan.errors import PrivplanError
    from privplan.fields import read_document
    from privplan.report_schema import Predicate

    try:
        return read_document(Predicate, json.dumps(predicate).encode(), what="report")
    except PrivplanError:
        return None


@pytest.fixture(scope="module")
def hostile(predicate, key):
    """One report with the hostile text in every field that takes it."""
    whole, count = copied(predicate), 0
    for path in text_paths(predicate):
        trial = copied(whole)
        put(trial, path, HOSTILE)
        # which parts are tuned is parsed, so such a text is refused, never shown
        if allowed(trial) is not None and path[-1] != "tune":
            whole, count = trial, count + 1
    whole["code"]["versions"][HOSTILE] = HOSTILE
    whole["assumptions"][HOSTILE] = HOSTILE
    whole["reasons"] = [HOSTILE]
    whole["reservation"] = {
        "register_id": HOSTILE, "reservation": HOSTILE, "data_set": HOSTILE,
        "sequence": 1, "hash": "e" * 64,
    }  # fmt: skip
    assert count > 60
    return source.read(signed(whole, key, {HOSTILE[:150]: "a" * 64}))


def text_paths(value, path=()):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, inner in items:
        if isinstance(inner, str):
            yield (*path, name)
        elif isinstance(inner, dict | list):
            yield from text_paths(inner, (*path, name))


def put(value, path, new):
    for name in path[:-1]:
        value = value[name]
    value[path[-1]] = new


def shapes(text):
    """Which tags with which attributes there are: what hostile text would add to."""
    return {(tag, *sorted(attributes)) for tag, attributes in Tags(text).tags}


def test_no_text_of_a_report_becomes_part_of_the_page(hostile, text):
    made = html.write(page.internal(hostile, [LocalNumber(name=HOSTILE, value=1.0)]))
    assert shapes(made) - shapes(text) <= {("p", "class"), ("p", "class", "role"),
                                           ("ul", "class")}  # fmt: skip
    assert made.count("<script") == 2
    assert "49" not in re.findall(r"\{\{7\*7\}\}|\b49\b", made)
    assert "<img" not in made
    assert "<!--" not in made
    assert embedding.read(made.encode(), embedding.SIGNED) is not None
    comparing.check(made.encode())


def test_no_text_of_a_report_becomes_markdown(hostile):
    for made in (
        markdown.write(page.reported(hostile)),
        cards.model_card(page.reported(hostile)),
        cards.data_card(page.reported(hostile)),
    ):
        body = made.split("---\n", 2)[-1] if made.startswith("---") else made
        assert "<img" not in re.sub(r"\\<", "", body)
        assert not re.search(r"(?<!\\)\[l(?<!\\)\]", body)
        assert "\n# h" not in made
        for line in body.splitlines():
            if line.startswith("|"):
                cells = len(re.findall(r"(?<!\\)\|", line)) - 1
                assert cells in {2, 3, 4, 5, 10}, line


def front_matter(card):
    """Read the block about privacy: each value is JSON, which YAML reads alike."""
    _, head, _ = card.split("---\n", 2)
    found = {}
    for line in head.splitlines():
        name, _, value = line.strip().partition(":")
        assert re.fullmatch(r"[a-z_0-9]+", name), line
        if value:
            found[name] = json.loads(value)
    return found


def test_the_cards_carry_the_claim_where_machines_look(said, hostile):
    claim = said.predicate.claim
    for card in (cards.model_card, cards.data_card):
        head = front_matter(card(page.reported(said)))
        assert claim.epsilon.upper <= head["epsilon"] <= claim.epsilon.upper + 1e-4
        assert head["delta"] == claim.delta
        assert head["unit"] == claim.unit
        assert head["plan_sha256"] == said.predicate.plan.digest
        assert head["statement_sha256"] == said.digest
        assert head["verify"].startswith("privplan verify ")
        assert head["mechanism"].startswith("Gaussian on the clipped sum")
        assert front_matter(card(page.reported(hostile)))["unit"] == HOSTILE


# --- a page that was edited


EDITS = {
    "epsilon of the first page": (r"<dd>1\.0000</dd>", "<dd>0.5000</dd>"),
    "a number of a table": (r'class="right">50<', 'class="right">5<'),
    "a number of the appendix": (r"&#34;counted&#34;: 50", "&#34;counted&#34;: 49"),
    "the sentence": ("only through the events", "not even through the events"),
    "a badge": ("not covered</span>", "covered</span>"),
    "an exclusion": ("side channels", "nothing"),
    "a description": ("stays under the target of 1", "stays under the target of 0.1"),
    "a rule that hides": (r"\.small\{", ".badge.bad{display:none}.small{"),
    "one more element": ("</main>", "<p>Approved.</p></main>"),
    "a line less": (r'<p class="signed">.*\n', ""),
    "the digest": ("with SHA-256 <span", "with SHA256 <span"),
    "a mark moved": (r'cx="(\d)', r'cx="1\1'),
    "letters in a figure": (r'd="M70 ', 'd="M70 H600 '),
    "the build": ('content="report"', 'content="release"'),
    "a comment": ("</body>", "<!-- x --></body>"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_page_that_shows_something_else_is_found_out(text, name):
    pattern, new = EDITS[name]
    edited, count = re.subn(pattern, new, text, count=1)
    assert count == 1
    assert edited != text
    with pytest.raises(IntegrityError):
        comparing.check(edited.encode())


def test_the_difference_is_named(text):
    edited = text.replace("<dd>1.0000</dd>", "<dd>0.5000</dd>")
    with pytest.raises(IntegrityError, match=r"0\.5000.*where.*1\.0000"):
        comparing.check(edited.encode())


def test_a_fraction_of_a_pixel_is_no_difference(text):
    """Another machine may round a curve differently; no number is read off it."""
    moved, count = re.subn(
        r'(class="line main" d="M70 )([\d.]+)',
        lambda m: f"{m[1]}{float(m[2]) - 0.1:.1f}",
        text,
        count=1,
    )
    assert count == 1
    assert "everything on it" in comparing.check(moved.encode())


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace("signed-report", "signed-reports"),
        lambda t: t + t[t.index("<script") :],
        lambda t: "<!doctype html>",
        lambda t: t.replace('"payload"', '"payloads"'),
    ],
)
def test_a_page_without_one_whole_report_is_refused(text, change):
    with pytest.raises(DocumentError):
        comparing.check(change(text).encode())


# --- audits, utility, local numbers


def test_audits_of_any_shape_are_shown(said):
    audits = {
        "audits": [{"kind": "one-run", "epsilon_lower": "0.31", "alpha": "0.05"}],
        "preflight": {"passed": True, "checks": [{"name": "clip", "ok": True}]},
    }
    wider = dataclasses.replace(said, said=said.said | audits)
    made = html.write(page.reported(wider))
    (shown,) = re.findall(
        r'<section class="sheet" id="audits".*?</section>', made, re.S
    )
    for part in ("one-run", "0.31", "epsilon lower", "clip", "yes"):
        assert part in shown
    assert "no audit" not in shown


def test_a_report_without_audits_says_so(text):
    assert "This report holds no audit" in text


def test_local_numbers_are_loud_and_unsigned(said, text):
    made = html.write(page.internal(said, LOCAL))
    assert "INTERNAL" in made
    assert "17.25" in made
    assert '<span class="badge local">LOCAL</span>' in made
    assert "nobody signed" in comparing.check(made.encode())
    assert "LOCAL" not in text
    with pytest.raises(IntegrityError):
        comparing.check(made.replace("17.25", "1.25", 1).encode())


# --- the release build


def test_a_release_is_the_report_and_passes_its_last_check(said):
    made = html.write(page.released(said))
    release.check_page(made)
    assert "release build" in made


def test_a_release_can_be_given_nothing_but_a_signed_report():
    """By type: there is no argument through which a local number could come."""
    assert list(inspect.signature(page.released).parameters) == ["source"]
    assert inspect.signature(page.released).parameters["source"].annotation == "Source"
    fields = {f.name for f in dataclasses.fields(source.Source)}
    assert fields == {"envelope", "digest", "subjects", "keyids", "predicate", "said"}


def objects(value, path=()):
    if isinstance(value, dict):
        yield path
        for name, inner in value.items():
            yield from objects(inner, (*path, name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from objects(inner, (*path, place))


def test_a_number_planted_anywhere_in_a_report_stops_the_release(said):
    """Whatever schema a later version has: a field nobody asked about is refused."""
    count = 0
    for path in objects(said.said):
        if "event" in path:
            continue  # a closed set of values, which the reader builds itself
        changed = copied(said.said)
        put(changed, (*path, "fid_to_real"), "0.9371")
        with pytest.raises(PolicyError, match="fid_to_real") as refusal:
            page.released(dataclasses.replace(said, said=changed))
        assert "0.9371" not in str(refusal.value)
        count += 1
    assert count > 30


@pytest.mark.parametrize(
    "one",
    [
        {"name": "fid", "value": "0.9371", "data": "private test set"},
        {"name": "fid", "value": "0.9371", "data": "public", "kind": "local"},
        {"name": "fid", "value": "0.9371", "data": "public", "kind": "LOCAL"},
    ],
)
def test_a_measurement_on_private_data_stops_the_release(said, one):
    changed = said.said | {"utility": [one]}
    with pytest.raises(PolicyError):
        page.released(dataclasses.replace(said, said=changed))


def test_texts_that_could_smuggle_a_number_stop_the_release(predicate, key):
    versions = copied(predicate)
    versions["code"]["versions"]["torch"] = "2.13 fid=0.9371"
    for text in (
        signed(versions, key),
        signed(predicate, key, {"fid 0.9371.bin": "a" * 64}),
        signed(predicate, key).replace(key.public.keyid.encode(), b"fid 0.9371"),
    ):
        with pytest.raises(PolicyError):
            page.released(source.read(text))


def test_a_local_value_is_refused_wherever_a_page_could_take_it(said):
    """Local has no text, so neither the type checker nor the template lets it by."""
    hidden = Local(0.9371)
    made = page.released(said)
    block = Table(caption="c", columns=("a",), rows=((hidden,),))
    section = Section(anchor="x", title="x", blocks=(block,))
    planted = (
        lambda: LocalNumber(name="x", value=hidden),
        lambda: html.write(dataclasses.replace(made, sections=(section,))),
        lambda: html.write(
            dataclasses.replace(
                made, decision=dataclasses.replace(made.decision, statement=hidden)
            )
        ),
        lambda: markdown.write(dataclasses.replace(made, sections=(section,))),
        lambda: page.released(dataclasses.replace(said, said={"x": hidden})),
    )
    for plant in planted:
        with pytest.raises(Exception, match=r".") as refusal:
            plant()
        assert "0.9371" not in str(refusal.value)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda said: html.write(page.reported(said)),
        lambda said: html.write(page.internal(said, LOCAL)),
        lambda said: html.write(page.internal(said, LOCAL)).replace(
            'content="internal"', 'content="release"'
        ),
        lambda said: html.write(page.released(said)).replace(
            "</main>", "<p>FID 0.9371</p></main>"
        ),
        lambda said: html.write(page.released(said)).replace(
            "</body>",
            embedding.block(embedding.LOCAL, source.write_local(LOCAL)) + "</body>",
        ),
    ],
)
def test_the_last_check_stops_whatever_is_not_the_release(said, spoil):
    with pytest.raises((PolicyError, IntegrityError)):
        release.check_page(spoil(said))


def test_the_list_of_a_release_is_about_fields_that_exist():
    """A new field must be put on the list by hand; a stale one must go."""
    withheld = set()  # fields of the schema that no release may hold
    found = set(schema_paths())
    known = {re.sub(r"^(assumptions|code\.versions)\..*", r"\1.{}", path)
             for path in release.allowed()}  # fmt: skip
    assert found - withheld == known


def schema_paths(node=None, path=""):
    """Every field of the published schema, as the list writes it."""
    node = SCHEMA if node is None else node
    while "$ref" in node:
        node = SCHEMA["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    inner = children(node)
    for name, child in inner:
        yield from schema_paths(child, f"{path}{name}".removeprefix("."))
    if not inner and node.get("type") == "object":
        yield path + (".**" if node.get("required") == ["type"] else ".{}")
    elif not inner and node.get("type") not in {"null", "array"}:
        yield path


def children(node):
    """The fields, items or choices of a part of the schema."""
    found = [(f".{name}", child) for name, child in node.get("properties", {}).items()]
    found += [("", child) for child in node.get("anyOf", ()) or node.get("oneOf", ())]
    items = [*node.get("prefixItems", ()), node.get("items", False)]
    return found + [("[]", child) for child in items if isinstance(child, dict)]


def test_every_number_on_the_page_is_decimal_text_of_the_report(said):
    """Utility is shown as it was signed, digit for digit."""
    (row,) = table(page.reported(said), "utility").rows
    assert read_decimal(row[1]) == said.predicate.utility[0].value


def test_the_example_in_the_documentation_is_what_its_report_gives():
    """After a change of the pages: privplan report render docs/examples/report.json."""
    example = ROOT / "docs" / "examples" / "report.html"
    assert "everything on it" in comparing.check(example.read_bytes())
    pictures = [ROOT / "docs" / f"report-{n}.png" for n in ("decision", "spending")]
    assert all(path.stat().st_size < 150_000 for path in [example, *pictures])
