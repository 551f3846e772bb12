"""The live view, the lines of a log, and what neither may hold."""

import io
import json
import re

import pytest
import torch
from rich.console import Console

from cli.half_blocks import sheet
from cli.live import Interrupt, LiveView, Wanted
from cli.run_log import RunLog, is_due
from privplan.errors import DocumentError
from privplan.planner import PlanRequest, make_plan

WIDTHS = [60, 80, 104, 140]


@pytest.fixture(scope="module")
def plan():
    return make_plan(PlanRequest(target_epsilon=3.0, stages="best"))


@pytest.fixture
def watched(plan, tmp_path):
    """Feeds a view as a run would; gives (text of the screen, folder)."""

    def watch(*, width=80, terminal=True, wanted=None, steps=None):
        screen = io.StringIO()
        out = Console(file=screen, width=width, force_terminal=terminal, no_color=True)
        view = LiveView(plan, Interrupt(), tmp_path, wanted=wanted, console=out)
        for phase in plan.phases:
            view.begin(phase, done=0, lost=0)
            for done in range(1, (steps or phase.steps) + 1):
                if done <= phase.steps:
                    view.advance(phase, done=done)
        if wanted is not None and wanted.previews:
            pixels = torch.arange(16 * 64, dtype=torch.uint8).reshape(16, 1, 8, 8)
            view.hang(pixels, phase="private", done=40, seconds=0.8)
        if terminal:
            out.print(view.picture())
        view.finish(finished=True)
        return screen.getvalue()

    return watch


@pytest.mark.parametrize("width", WIDTHS)
def test_the_live_view_crops_no_number_at_any_width(width, watched, plan):
    shown = re.sub(r"\x1b\[[\d;]*m", "", watched(width=width))
    assert max(len(line) for line in shown.splitlines()) <= width
    assert "…" not in shown
    for number in ("3.0000 of 3, at the end 3.0000", "600/600", "100/100", "1/1"):
        assert number in shown
    assert len(re.findall(r"[\d.]+ s/step +done", shown)) == len(plan.phases)


@pytest.mark.parametrize("width", WIDTHS)
def test_previews_fit_the_terminal_at_any_width(width, watched, tmp_path):
    shown = watched(width=width, wanted=Wanted(previews=True))
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert max(len(line) for line in plain.splitlines()) <= width
    assert "costs no privacy" in " ".join(plain.split())
    assert (tmp_path / "previews" / "private-000040.png").is_file()


def test_without_a_terminal_lines_are_few_and_plain(watched, plan):
    said = watched(terminal=False)
    assert "\x1b" not in said
    assert len(said.splitlines()) == 2 * len(plan.phases)
    assert "private: 100 of 100 steps, epsilon 3.0000 of 3, done" in said


def test_a_line_of_the_log_holds_public_numbers_and_no_time(watched, tmp_path):
    """The time of a step tells the size of its batch, and that is private."""
    watched(wanted=Wanted(previews=True))
    text = (tmp_path / "progress.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {key for line in lines for key in line} <= {
        "event", "phase", "done", "steps", "epsilon", "lost", "file", "finished",
    }  # fmt: skip
    assert lines[-1] == {"event": "end", "finished": True}
    private = [x for x in lines if x.get("phase") == "private" and "epsilon" in x]
    spent = [float(line["epsilon"]) for line in private]
    assert spent == sorted(spent)
    assert spent[-1] == pytest.approx(3.0, abs=1e-4)


def test_the_log_is_the_same_however_fast_the_steps_were(watched, tmp_path):
    """Two runs of one plan differ in time alone, and so their logs do not."""
    path = tmp_path / "progress.jsonl"
    watched()
    first = path.read_text()
    path.unlink()
    watched(width=60, terminal=False)
    assert path.read_text() == first


def test_a_phase_of_any_length_has_about_a_hundred_lines():
    for steps in (1, 7, 100, 101, 12_345):
        due = [d for d in range(1, steps + 1) if is_due(done=d, steps=steps)]
        assert due[-1] == steps
        assert min(steps, 50) <= len(due) <= 102


def test_a_log_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(DocumentError):
        RunLog(tmp_path / "no" / "log.jsonl").write("ready")


def test_log_names_another_file(watched, tmp_path):
    watched(wanted=Wanted(log=tmp_path / "x.jsonl"))
    assert (tmp_path / "x.jsonl").is_file()
    assert not (tmp_path / "progress.jsonl").exists()


def test_half_blocks_show_the_pixels_they_were_given():
    images = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    images[0, 0] = 200
    text = sheet(images.numpy(), width=20, colour=True)
    styles = {str(span.style) for span in text.spans}
    assert "#c80000 on #c80000" in styles
    assert text.plain.splitlines()[0] == "▀▀▀▀▀"


def test_a_run_shows_previews_and_writes_its_log_when_asked(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli("plan", "--eps", "3", "--steps", "2", "--sample-rate", "0.05",
        "--noise-multiplicity", "1", "--stages", "dpdm")  # fmt: skip
    code, _, said = cli("train", "--out", "run", "--previews", "--log", "here.jsonl")
    assert code == 0
    assert "preview run/previews/private-000002.png" in said
    assert (tmp_path / "run" / "previews" / "private-000001.png").is_file()
    events = [
        json.loads(x)["event"]
        for x in (tmp_path / "here.jsonl").read_text().splitlines()
    ]
    assert events[0] == "ready"
    assert events[-1] == "end"
    assert events.count("preview") == 2
