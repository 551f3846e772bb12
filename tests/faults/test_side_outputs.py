"""Mistakes beside the training: logs, messages, scores, statistics of the data."""

import ast
import json
from dataclasses import replace

import pytest
import torch

from diffusion import trainer
from diffusion.evaluation.scores import evaluate_locally
from diffusion.local import Local
from diffusion.noise_levels import LogNormal
from diffusion.record_rows import Showing, rows_at
from privplan.errors import ParameterError
from privplan.report_schema import Utility
from tests import test_leak_lint as lint
from tests.diffusion import test_per_example as layers
from tests.faults import steps
from tests.faults.catching import fault
from tests.faults.test_papers import (  # noqa: F401 - fixtures
    _asked_once,
    finished,
    folder,
    told,
)


class Source:
    """A source file, and the lint's view of it."""

    def __init__(self, room):
        self.path = f"diffusion/{room}.py"
        self.text = lint.SOURCES[self.path]

    def is_silent(self):
        assert lint.leaks(self.path, self.text) == []

    def add(self, after, line):
        def put_in():
            assert after in self.text
            self.text = self.text.replace(after, after + line, 1)

        return put_in


def linted(caught, room, *lines):
    for after, line in lines:
        source = Source(room)
        caught.check(source.is_silent, source.add(after, line), "leak lint")


@fault("O1")
def test_a_loss_in_a_log_is_caught(caught):
    """The mean loss of a batch is a statistic of its records that nobody charged."""
    linted(
        caught,
        "trainer",
        ("    spend()\n", "    print(float(total[0].norm()))\n"),
        ("import torch\n", "import logging\n"),
    )
    linted(
        caught,
        "phases",
        (
            "            done += 1\n",
            "            run.watcher.advance(phase, done=loss)\n",
        ),
    )


@fault("O2")
def test_an_exception_that_quotes_a_batch_is_caught(caught):
    linted(
        caught,
        "trainer",
        ("    spend()\n", "    raise ValueError(f'batch of {len(chosen)}')\n"),
    )
    linted(
        caught,
        "phases",
        (
            "        kind = type(error).__name__\n",
            "        raise StepFailedError(error.args[0], hint='') from None\n",
        ),
    )


@fault("O3")
def test_a_batch_size_in_the_progress_is_caught(caught):
    linted(
        caught,
        "phases",
        (
            "            done += 1\n",
            "            run.watcher.advance(phase, done=len(run.images.labels))\n",
        ),
    )


@fault("O4")
def test_a_score_on_private_images_cannot_be_exported(caught):
    """It exists as a `Local` alone, and nothing that writes takes one."""
    score = Local(0.9371)
    for export in (
        lambda: Utility(name="accuracy", value=score, data="private"),
        lambda: json.dumps({"accuracy": score}),
        lambda: float(score),
        lambda: f"{score:.3f}",
    ):
        with pytest.raises(Exception, match=r".") as refusal:
            export()
        assert "0.9371" not in str(refusal.value)
    assert evaluate_locally.__annotations__["return"] == Local[_scores()]
    caught._note("refused, Local takes no export")


def _scores():
    from diffusion.evaluation.scores import Scores

    return Scores


@fault("O5")
def test_a_checkpoint_chosen_by_a_private_score_must_be_declared(
    caught,
    folder,  # noqa: F811
):
    """Training itself keeps the last one; whoever chooses otherwise has to say so."""

    def silent(predicate):
        parts = predicate["scope"]["excludes"]
        predicate["scope"]["excludes"] = [
            p for p in parts if p["what"] != "checkpoint-selection"
        ]
        assert len(predicate["scope"]["excludes"]) == len(parts) - 1

    caught.finding(told(folder, silent), "V9")


AFTER_RELEASE = ("sampling", "sampler", "denoisers")
RECORDS = {"PrivateImages", "load_private", "poisson_batch"}


def what_comes_after_release_knows_no_records(texts):
    """Samples are drawn from released files: nothing there can read a record."""
    for text in texts.values():
        names = {
            alias.name
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        assert not names & RECORDS


@fault("O6")
def test_true_label_counts_for_sampling_are_caught(caught):
    """Labels of samples follow noisy counts that were charged, or are uniform."""
    texts = {r: lint.SOURCES[f"diffusion/{r}.py"] for r in AFTER_RELEASE}

    def put_in():
        texts["sampling"] += "\nfrom diffusion.data import load_private\n"

    caught.check(
        lambda: what_comes_after_release_knows_no_records(texts),
        put_in,
        "sampling knows no records",
    )


@fault("O7")
def test_pixels_scaled_by_the_data_are_caught(caught, monkeypatch):
    """A minimum over all records moves every picture when one record leaves."""
    from diffusion.data import PrivateImages

    right = PrivateImages.batch

    def a_picture_does_not_depend_on_the_others():
        alone, _ = steps.records(9).batch(torch.tensor([0]))
        among, _ = steps.records(9, 200, 255).batch(torch.tensor([0]))
        assert torch.equal(alone, among)

    def scaled(self, indices):
        pictures, labels = right(self, indices)
        return pictures / self.images.max(), labels

    caught.check(
        a_picture_does_not_depend_on_the_others,
        lambda: monkeypatch.setattr(PrivateImages, "batch", scaled),
        "a picture is its own",
    )


class ScalesByItsFirstBatch(layers.Remembering):
    """Keeps the standard deviation of the first batch, as latent models do."""

    def forward(self, x):
        if not bool(self.seen.any()):
            self.seen.fill_(float(x.detach().std()))
        return self.layer(x / self.seen)


@fault("O8")
def test_a_statistic_of_the_first_batch_is_refused(caught):
    caught.refusal(
        ParameterError,
        lambda: layers.run("auto", ScalesByItsFirstBatch(), torch.randn(4, 3)),
    )


class FollowsTheLoss(LogNormal):
    """A law of sigma that remembers what it was shown."""

    def quantile(self, uniform):
        found = super().quantile(uniform)
        return found * (1 + HISTORY["seen"])


HISTORY = {"seen": 0.0}


@fault("O9")
def test_noise_levels_that_follow_the_records_are_caught(caught):
    """What is drawn for a record depends on its seed alone, whoever came before."""
    showing = Showing(
        noise_multiplicity=2, law=LogNormal(), label_dropout=0.0, null_label=9
    )
    used = {"showing": showing}

    def rows_do_not_depend_on_earlier_ones():
        picture, label = torch.zeros(1, 1, 8, 8), torch.tensor([3])
        first = rows_at(picture, label, seeds=[6], showing=used["showing"])
        HISTORY["seen"] = 0.5  # another record was trained on in between
        second = rows_at(picture, label, seeds=[6], showing=used["showing"])
        HISTORY["seen"] = 0.0
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))

    caught.check(
        rows_do_not_depend_on_earlier_ones,
        lambda: used.update(showing=replace(showing, law=FollowsTheLoss())),
        "rows depend on the seed alone",
    )
    assert trainer.rows_at is rows_at
