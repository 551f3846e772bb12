"""The page of a report, opened in Chromium; `make test-browser`."""

import json
import re

import pytest

from cli import actions
from privplan import plan as plans
from privplan.render_report import html, page, source
from tests.browser import chromium
from tests.privplan.signed_reports import key_in, plan_of, predicate_of, signed

PATH = chromium.found()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        PATH is None, reason=f"needs one of {', '.join(chromium.NAMES)} on the path"
    ),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    plan = plan_of()
    plans.write(plan, folder / "plan.json")
    predicate_of(folder, plan)
    actions.write_report(plan, folder, key_in(folder), folder / "report.json")
    return folder


@pytest.fixture(scope="module")
def browser():
    opened = chromium.Browser(PATH)
    yield opened
    opened.close()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 400])
def test_a_page_asks_nobody_and_complains_of_nothing(run, browser, width, dark):
    path = run / "report.html"
    browser.open(path, width=width, dark=dark)
    browser.run("1")  # an answer comes after all events before it
    asked = [
        said["request"]["url"] for said in browser.said("Network.requestWillBeSent")
    ]
    assert asked == [path.resolve().as_uri()]
    assert browser.said("Runtime.consoleAPICalled") == []
    assert browser.said("Runtime.exceptionThrown") == []
    assert browser.said("Log.entryAdded") == []


def test_the_policy_of_the_page_stops_what_would_be_put_in(run, browser, tmp_path):
    """The test above proves nothing if the browser would have said nothing."""
    path = tmp_path / "report.html"
    text = (run / "report.html").read_text()
    bad = '<script>document.title="x"</script><img src="http://127.0.0.1:9/x.png">'
    path.write_text(text.replace("</main>", f"{bad}</main>"))
    browser.open(path)
    assert browser.run("document.title").startswith("Privacy report")
    texts = [said["entry"]["text"] for said in browser.said("Log.entryAdded")]
    assert len([t for t in texts if "Content Security Policy" in t]) == 2
    loaded = {said["requestId"] for said in browser.said("Network.responseReceived")}
    assert len(loaded) == 1


def test_tables_and_figures_are_there_and_drawn(run, browser):
    browser.open(run / "report.html")
    sizes = browser.run(
        "[...document.querySelectorAll('svg')].map(s => {"
        "const b = s.getBoundingClientRect(); return [b.width, b.height]})"
    )
    assert len(sizes) == 3
    assert all(width > 500 and height > 200 for width, height in sizes)
    inked = browser.run(
        "[...document.querySelectorAll('svg .line')]"
        ".map(p => getComputedStyle(p).stroke)"
    )
    assert len(inked) == 5
    assert "none" not in inked
    assert browser.run("document.querySelectorAll('table').length") >= 10
    assert browser.run("document.querySelectorAll('.box .line').length") == 3
    first = browser.run("document.querySelector('main').firstElementChild.className")
    assert first == "decision"


def test_the_report_inside_the_page_verifies(run, browser, cli, tmp_path):
    """As a stranger would copy it out of the open page."""
    browser.open(run / "report.html")
    inside = browser.run("document.getElementById('signed-report').textContent")
    (tmp_path / "copied.json").write_text(inside)
    code, out, _ = cli(
        "verify", tmp_path / "copied.json", "--key", run / "own.pub", "--json"
    )
    assert code == 0
    assert json.loads(out)["verified"]
    assert cli("verify", run / "report.html", "--key", run / "own.pub")[0] == 0


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_the_screen(run, browser, width):
    browser.open(run / "report.html", width=width)
    assert browser.run("document.documentElement.scrollWidth") <= width


def test_nothing_is_drawn_outside_its_figure(run, browser):
    """A cropped number is a wrong number."""
    for width in (1280, 400):
        browser.open(run / "report.html", width=width)
        outside = browser.run(
            "[...document.querySelectorAll('svg text')].filter(t => {"
            "const a = t.getBoundingClientRect(),"
            "b = t.ownerSVGElement.getBoundingClientRect();"
            "return a.left < b.left - 1 || a.right > b.right + 1"
            "|| a.top < b.top - 1 || a.bottom > b.bottom + 1"
            "}).map(t => t.textContent)"
        )
        assert outside == []


def test_text_stands_out_from_its_ground_in_light_and_in_dark(run, browser):
    """WCAG AA asks for 4.5 to 1 for text of this size."""
    for dark in (False, True):
        browser.open(run / "report.html", dark=dark)
        pairs = browser.run(
            "(() => {const page = getComputedStyle(document.documentElement)"
            ".backgroundColor; return [...document.querySelectorAll("
            "'h1, p, td, th, caption, .badge:not(.local), a, .means')].map(e =>"
            "[getComputedStyle(e).color, page])})()"
        )
        worst = min(contrast(*pair) for pair in {tuple(p) for p in pairs})
        assert worst >= 4.5, dark


def contrast(one, other):
    lights = sorted((lightness(one), lightness(other)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def lightness(colour):
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [
        p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    ]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.fixture(scope="module")
def fullest(tmp_path_factory):
    """The fullest first page: unfinished, many files, a register, local numbers."""
    folder = tmp_path_factory.mktemp("full")
    predicate = predicate_of(folder, plan_of(), begun=7)
    predicate["plan"]["budget"]["earlier_epsilon"] = "0.5"
    predicate["reservation"] = {
        "register_id": "r" * 32, "reservation": "s" * 32, "sequence": 12,
        "data_set": "chest x-rays of the second quarter", "hash": "e" * 64,
    }  # fmt: skip
    names = (
        "answers.json", "checkpoint/model.safetensors", "checkpoint/state.safetensors",
        "evaluation.json", "plan.json", "samples/samples.npz", "samples/samples.png",
    )  # fmt: skip
    text = signed(predicate, key_in(folder), dict.fromkeys(names, "a" * 64))
    local = [source.LocalNumber(name="fid", value=17.25)]
    made = html.write(page.internal(source.read(text), local))
    (folder / "report.html").write_text(made)
    return folder / "report.html"


@pytest.mark.parametrize("which", ["usual", "fullest"])
def test_the_decision_prints_on_one_sheet_of_a4(run, fullest, browser, tmp_path, which):
    path = fullest if which == "fullest" else run / "report.html"
    browser.open(path)
    browser.paper(tmp_path / "report.pdf")
    pdf = (tmp_path / "report.pdf").read_bytes()
    sizes = set(re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf))
    assert {(round(float(w)), round(float(h))) for w, h in sizes} == {(595, 842)}
    # The box of the decision ends above the foot of the first sheet: 297 - 28 mm.
    browser.call("Emulation.setEmulatedMedia", media="print")
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=688, height=1000, deviceScaleFactor=1, mobile=False,
    )  # fmt: skip
    bottom = browser.run(
        "document.querySelector('.decision').getBoundingClientRect().bottom"
    )
    assert bottom <= 269 / 25.4 * 96
