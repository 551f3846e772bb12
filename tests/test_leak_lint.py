"""A lint for leaks: what private records say must not reach a log, a file or a message.

The rules look at the source, so they hold for paths no test runs. Each is shown to
catch the mistake it is for: a mutant of a real file, with one line added.
"""

import ast
import inspect
import json
import os
import pickle
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for house in ("diffusion", "cli")
    for path in sorted((ROOT / house).rglob("*.py"))
}
# Rooms that hold a batch, a gradient or a sum before its noise.
PRIVATE_ROOMS = (
    "diffusion/clipping.py",
    "diffusion/data_checks.py",
    "diffusion/enforce.py",
    "diffusion/engines/",
    "diffusion/integer_grid.py",
    "diffusion/loss.py",
    "diffusion/mixture.py",
    "diffusion/pacing.py",
    "diffusion/per_example.py",
    "diffusion/phases.py",
    "diffusion/poisson.py",
    "diffusion/privatize.py",
    "diffusion/queries.py",
    "diffusion/ranks.py",
    "diffusion/run.py",
    "diffusion/readers/captions.py",
    "diffusion/run_state.py",
    "diffusion/shared_guard.py",
    "diffusion/team.py",
    "diffusion/text_encoder.py",
    "diffusion/trainer.py",
)
# What their messages may print: parts of a plan, names of layers, our own words.
PRINTABLE = {
    "MAX_PARAMETERS",
    "self.noise_multiplier",
    "size",
    "', '.join(ENGINES)",
    "_listed(names)",
    "budget.target_epsilon",
    "canonical.text_up(found.upper, 4)",
    "changed[0]",
    "code",
    "declared.channels",
    "declared.classes",
    "declared.height",
    "declared.records",
    "declared.width",
    "folder",
    "found.error().message",
    "found.least_claim",
    "found.lower",
    "kind",
    "phase.asked_as",
    "label_dropout",
    "len(names) - 3",
    "name",
    "name or 'model'",
    "phase.data_name",
    "phase.name",
    "phases[0].data_name",
    "plan.accounting.epsilon_upper",
    "reason",
    "self.kind",
    "self.rank",
    "source",
    "TOKEN_WORDS",
    "type(module).__name__",
}
# What may go to a watcher, a ledger or a checkpoint: names, and no attribute of these.
SINKS = {
    "advance", "begin", "spend", "settle", "pace", "release", "record_release",
    "record_unsafe", "Place", "save_model", "look",
}  # fmt: skip
SENDABLE = {
    "phase", "run", "learner", "counted", "kept", "done", "name", "count", "size",
    "facts", "next_phase", "plan_digest", "int", "LedgerHead", "canonical", "images",
    "plan", "folder", "enforce", "digest", "answers", "options", "taken", "ledger",
    "LEDGER_NAME", "charge", "processes",
}  # fmt: skip
WITHHELD = {"images", "labels", "grad", "loss", "random", "optimiser", "network"}
VOICES = {"print", "echo", "warn", "breakpoint"}
LOUD = {"logging", "rich", "typer"}
STRUCTURAL = {"NotImplementedError"}  # about the layers of a model, not its input
SPEAKERS = {"cli/paper.py", "cli/__main__.py", "cli/live.py", "cli/ledger_view.py"}


def private(path):
    return path.startswith(PRIVATE_ROOMS)


def called(node):
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def imported(node):
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {(node.module or "").split(".")[0]}


def spoken(path, node):
    """The rooms of training have no voice; the command line has few mouths."""
    if isinstance(node, ast.Import | ast.ImportFrom) and path.startswith("diffusion/"):
        handles = isinstance(node, ast.ImportFrom) and node.module == "sys"
        return handles or bool(imported(node) & LOUD)
    if not isinstance(node, ast.Call):
        return False
    if called(node) in VOICES:
        return path.startswith("diffusion/") or called(node) == "breakpoint"
    text = ast.unparse(node.func)
    return text.startswith(("sys.stdout.", "sys.stderr.")) and path not in SPEAKERS


def printed(path, node):
    """A message about a private step says nothing that is not public."""
    if not private(path):
        return False
    if isinstance(node, ast.FormattedValue):
        return ast.unparse(node.value) not in PRINTABLE
    if isinstance(node, ast.Call):
        text = isinstance(node.func, ast.Name) and node.func.id in {"str", "repr"}
        return text or called(node) == "format"
    return (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Mod)
        and isinstance(node.left, ast.Constant)
        and isinstance(node.left.value, str)
    )


def sent(path, node):
    """Progress, ledger and checkpoint get names of phases and counts of steps."""
    if not (private(path) and isinstance(node, ast.Call) and called(node) in SINKS):
        return False
    given = [*node.args, *(word.value for word in node.keywords)]
    parts = [part for value in given for part in ast.walk(value)]
    names = {part.id for part in parts if isinstance(part, ast.Name)}
    fields = {part.attr for part in parts if isinstance(part, ast.Attribute)}
    opened = ast.unparse(node.func).startswith("enforce.")  # opens the ledger
    return bool(names - SENDABLE or fields & WITHHELD) or (
        "images" in names and not opened
    )


def quoted(path, node):
    """The text of an error in a private step may tell the size of its batch."""
    if not (private(path) and isinstance(node, ast.ExceptHandler) and node.name):
        return False
    if node.type is not None and ast.unparse(node.type) in STRUCTURAL:
        return False
    allowed = 0
    for part in ast.walk(node):
        text = ast.unparse(part) if isinstance(part, ast.Call) else ""
        allowed += text == f"type({node.name})"
    uses = sum(
        isinstance(part, ast.Name) and part.id == node.name for part in ast.walk(node)
    )
    raises = [part for part in ast.walk(node) if isinstance(part, ast.Raise)]
    hidden = all(
        isinstance(part.cause, ast.Constant) and part.cause.value is None
        for part in raises
    )
    return uses > allowed or not hidden or not raises


def opened_local(path, node):
    """What is for the data holder's eyes is opened in one place only."""
    if not (isinstance(node, ast.Call) and called(node) == "show_to_the_data_holder"):
        return False
    return path != "cli/evaluation.py"


RULES = (spoken, printed, sent, quoted, opened_local)


def leaks(path, text):
    """Every leak the rules see in a file: (rule, line)."""
    tree = ast.parse(text)
    return [
        (rule.__name__, getattr(node, "lineno", 0))
        for node in ast.walk(tree)
        for rule in RULES
        if rule(path, node)
    ]


@pytest.mark.parametrize("path", SOURCES)
def test_nothing_private_reaches_a_log_a_file_or_a_message(path):
    """If a value here is public after all, add it to the list it is missing from."""
    assert leaks(path, SOURCES[path]) == []


def test_every_private_room_is_there():
    for room in PRIVATE_ROOMS:
        assert any(path.startswith(room) for path in SOURCES), room


MUTANTS = [
    # rule, file, a line, what is put after it
    ("spoken", "trainer", "    spend()\n", "    print(len(images.labels))\n"),
    ("spoken", "phases", '"""Carrying', None),
    ("spoken", "per_example", "    for rows, records in pieces:\n",
     "        warnings.warn(records)\n"),
    ("printed", "trainer", "    spend()\n",
     "    raise ValueError(f'batch of {len(chosen)}')\n"),
    ("printed", "privatize", "    for part in clipped_sum:\n",
     "        raise ValueError(f'norm {part.norm()}')\n"),
    ("printed", "trainer", "    spend()\n", "    raise ValueError(str(chosen))\n"),
    ("printed", "trainer", "    spend()\n",
     "    raise ValueError('%d records' % len(chosen))\n"),
    ("printed", "trainer", "    spend()\n",
     "    raise ValueError('{} records'.format(len(chosen)))\n"),
    ("sent", "phases", "            done += 1\n",
     "            run.watcher.advance(phase, done=loss)\n"),
    ("sent", "phases", "            done += 1\n",
     "            run.watcher.advance(phase, done=len(run.images.labels))\n"),
    ("sent", "phases", "            done += 1\n",
     "            run.guard.settle(phase, batch_size)\n"),
    ("sent", "run", "        return RunResult(finished=_go(run), folder=folder)\n",
     "        run.guard.release('loss', clipped_share)\n"),
    ("sent", "phases", "            done += 1\n",
     "            run.previews.look(run.images, phase)\n"),
    ("sent", "phases", "            done += 1\n",
     "            run.previews.look(run.learned.learner.optimiser, phase)\n"),
    ("sent", "trainer", "    spend()\n",
     "    save_model(folder, learner, {'norm': norm})\n"),
    ("quoted", "phases", "        kind = type(error).__name__\n",
     "        raise StepFailedError(error.args[0], hint='') from None\n"),
    ("quoted", "phases", "    except PrivplanError:\n        raise\n",
     "    except ValueError as problem:\n        raise TypeError() from problem\n"),
    ("quoted", "phases", "    except PrivplanError:\n        raise\n",
     "    except ValueError as problem:\n        notes = problem\n"),
    ("opened_local", "sampling", "from pathlib import Path\n",
     "x.show_to_the_data_holder()\n"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "room", "line", "added"), MUTANTS, ids=lambda x: str(x)[:30]
)
def test_a_leak_put_in_by_hand_is_seen(rule, room, line, added):
    """A lint that finds nothing in clean code may find nothing at all."""
    path = f"diffusion/{room}.py"
    text = SOURCES[path]
    assert line in text, path
    if added is None:
        text += "\nimport logging\n"
    else:
        text = text.replace(line, line + added, 1)
    assert rule in {found for found, _ in leaks(path, text)}


def test_whoever_looks_on_is_told_the_plan_phases_and_counts_only():
    from diffusion.watching import Watcher

    given = {
        name: set(inspect.signature(method).parameters) - {"self"}
        for name, method in vars(Watcher).items()
        if callable(method) and not name.startswith("_")
    }
    assert given == {
        "ready": {"plan"},
        "begin": {"phase", "done", "lost"},
        "advance": {"phase", "done"},
        "should_stop": set(),
    }


def test_whoever_is_shown_previews_is_told_a_phase_and_a_count_only():
    from diffusion.watching import Gallery

    given = set(inspect.signature(Gallery.hang).parameters) - {"self"}
    assert given == {"images", "phase", "done", "seconds"}


def test_an_entry_of_the_ledger_about_steps_has_no_room_for_more():
    """A time beside every step would show the size of its batch."""
    from privplan.ledger_entries import _FIELDS

    assert set(_FIELDS["intent"]) == {"session", "phase", "count"}
    assert set(_FIELDS["settle"]) == {"session", "phase", "count"}
    assert set(_FIELDS["abort"]) == {"session", "time"}


@dataclass
class Holder:
    inside: object


def exporters():
    """Everything that puts a value into a file, a document or a ledger."""
    from safetensors.torch import save

    from privplan import canonical, events, files
    from privplan.fields import Document, Number
    from privplan.render_report import markdown, source
    from privplan.report_schema import Utility

    class Numbered(Document):
        value: Number

    import torch

    return {
        "canonical bytes": lambda x: canonical.canonical_bytes({"x": x}),
        "digest": lambda x: canonical.digest([x]),
        "decimal": canonical.decimal_text,
        "rounded up": lambda x: canonical.text_up(x, 4),
        "json": json.dumps,
        "json of fields": lambda x: json.dumps(asdict(Holder(x))),
        "pickle": pickle.dumps,
        "text file": lambda x: files.write_text(Path("x"), x, what="x"),
        "bytes": bytes,
        "float": float,
        "number with digits": lambda x: f"{x:.4f}",
        "utility": lambda x: Utility(name="x", value=x, data="x"),
        "document": lambda x: Numbered(value=x),
        "page": lambda x: source.LocalNumber(name="x", value=x),
        "markdown": markdown.escaped,
        "event": lambda x: events.GaussianEvent(noise_multiplier=x),
        "tensor": torch.tensor,
        "checkpoint": lambda x: save({}, metadata={"x": x}),
    }


@pytest.mark.parametrize("name", exporters())
def test_no_exporter_takes_a_local_value(name):
    """A score on private records that reaches a report is a release nobody paid for."""
    from diffusion.local import Local

    with pytest.raises(Exception, match=r".") as refusal:
        exporters()[name](Local(0.9371))
    assert "0.9371" not in str(refusal.value)


def test_a_local_value_prints_as_a_label_and_shows_itself_when_asked():
    from diffusion.local import Local

    local = Local(0.9371)
    shown = [repr(local), str(local), f"{local}", str([local]), repr(Holder(local))]
    assert not [text for text in shown if "0.9371" in text]
    assert not hasattr(local, "__dict__")
    assert local.show_to_the_data_holder() == 0.9371


def test_a_ledger_takes_no_local_value(tmp_path):
    from diffusion.local import Local
    from privplan.errors import ParameterError
    from privplan.events import NoOpEvent
    from privplan.ledger import Allowance, Ledger

    with Ledger.create(
        tmp_path / "x.sqlite",
        plan_digest="a" * 64,
        data_digest="b" * 64,
        code_digest="c" * 64,
        allowances=[Allowance(phase="p", event=NoOpEvent(), steps=9)],
    ) as ledger:
        head = ledger.head()
        for call in (
            lambda: ledger.record_release("x", "d" * 64, score=Local(1)),
            lambda: ledger.record_unsafe(Local("x")),
            lambda: ledger.reserve("p", Local(1)),
        ):
            with pytest.raises(ParameterError):
                call()
        assert ledger.head() == head


TYPED = """
from pathlib import Path
from diffusion.local import Local
from privplan import canonical, files
from privplan.report_schema import Utility
from cli import render
score: Local[float] = Local(0.9)
canonical.decimal_text(score)
files.write_text(Path("x"), score, what="x")
files.write_bytes(Path("x"), score, what="x")
Utility(name="x", value=score, data="x")
render.scores({"x": score}, local=True, as_json=True)
canonical.decimal_text(score.show_to_the_data_holder())
"""


@pytest.mark.slow
def test_the_type_checker_refuses_a_local_value_at_every_exporter(tmp_path):
    (tmp_path / "typed.py").write_text(TYPED.lstrip())
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "typed.py"),
            *("--cache-dir", str(tmp_path)),
            *("--config-file", str(ROOT / "pyproject.toml")),
        ],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = {int(x.split(":")[1]) for x in done.stdout.splitlines() if ": error:" in x}
    assert lines == {7, 8, 9, 10, 11}, done.stdout + done.stderr
