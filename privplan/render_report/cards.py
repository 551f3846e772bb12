"""A model card and a data set card, with the privacy claim where machines find it.

Both begin with YAML as model and data hubs read it. The block `differential_privacy`
holds the claim, the digests it is about and the command that checks it; a report
without a claim gives a block without an epsilon.

Source: Mitchell et al. 2019, arXiv:1810.03993; Gebru et al. 2018, arXiv:1803.09010.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from privplan.canonical import text_up
from privplan.render_report.decision import Decision
from privplan.render_report.markdown import escaped
from privplan.render_report.page import Page
from privplan.render_report.source import Source
from privplan.report_schema import Predicate

_VERIFY = "privplan verify report.json --key trainer.pub"
_SAMPLES = "samples/samples.npz"
_TAGS = ("differential-privacy", "diffusion", "synthetic-data", "privplan")
_UNPRINTED = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")

Value = str | bool | float | Sequence[str] | Mapping[str, "Value"]


def model_card(page: Page) -> str:
    """Write the card of the model.

    Args:
        page: What the report says.
    """
    head: dict[str, Value] = {
        "library_name": "privplan",
        "pipeline_tag": "unconditional-image-generation",
        "tags": list(_TAGS),
        "differential_privacy": claim(page.source),
    }
    plan = page.source.predicate.plan
    about = (
        "A diffusion model trained by privplan on "
        f"{plan.data.records:,} images of {_shape(page.source.predicate)}, "
        f"{plan.data.classes} classes, under a plan fixed before any record was read."
    )
    return _card("Model card", head, page, [about, *_training(page.source.predicate)])


def data_card(page: Page) -> str:
    """Write the card of the images drawn from the model.

    Args:
        page: What the report says.
    """
    head: dict[str, Value] = {
        "pretty_name": "Synthetic images under differential privacy",
        "annotations_creators": ["machine-generated"],
        "task_categories": ["unconditional-image-generation", "image-classification"],
        "tags": list(_TAGS),
        "differential_privacy": claim(page.source),
    }
    said = page.source.predicate
    digests = dict(page.source.subjects)
    about = [
        f"Images of {_shape(said)} in {said.plan.data.classes} classes, drawn from a "
        "diffusion model. No image is a record: each is computed from the model alone, "
        "so the claim covers them all, however many are drawn."
    ]
    if _SAMPLES in digests:
        about.append(
            f"The archive {_SAMPLES} with train_images (8-bit, height x width x "
            f"channels) and train_labels has SHA-256 {digests[_SAMPLES]}."
        )
    return _card("Data set card", head, page, about)


def claim(source: Source) -> dict[str, Value]:
    """Return the claim as a block for machines, with the digests it is about.

    Args:
        source: The signed report.
    """
    said, claims = source.predicate, source.predicate.verdict == "dp-claim"
    block: dict[str, Value] = {"claim": claims}
    if claims:
        block |= {
            "epsilon": float(text_up(said.claim.epsilon.upper, 4)),
            "delta": said.claim.delta,
        }
    else:
        block["reasons"] = list(said.reasons)
    return block | {
        "definition": said.claim.definition,
        "unit": said.claim.unit,
        "max_records_per_unit": float(said.claim.max_records_per_unit),
        "adjacency": said.claim.adjacency.value,
        "released": said.claim.released,
        "mechanism": f"{said.mechanism.noise}; sampling: {said.mechanism.sampling}",
        "accountants": [f"{a.name} {a.version}" for a in said.accounting],
        "finished": said.realised.finished,
        "plan_sha256": said.plan.digest,
        "statement_sha256": source.digest,
        "verify": _VERIFY,
    }


def _card(
    title: str, head: Mapping[str, Value], page: Page, about: Sequence[str]
) -> str:
    first = page.decision
    lines = ["---", *_yaml(head), "---", "", f"# {title}", ""]
    for text in about:
        lines += [escaped(text), ""]
    lines += [*_privacy(first), *_utility(page.source)]
    return "\n".join(lines) + "\n"


def _privacy(first: Decision) -> Iterable[str]:
    yield from ("## Privacy", "")
    if not first.claims:
        yield "**No privacy claim is made:**"
        yield from ("", *(f"* {escaped(reason)}" for reason in first.reasons), "")
    else:
        yield from (escaped(first.statement), "", escaped(first.in_words), "")
    yield from ("What must hold:", "")
    yield from (f"* {escaped(text)}" for _, text in first.assumptions)
    yield from ("", "What is left out:", "")
    for group in first.exclusions:
        yield f"* {escaped(group.title)}: {escaped(', '.join(group.names))}"
    yield from ("", "Check it, with the signer's key got elsewhere:", "")
    yield from ("```", _VERIFY, "```", "")


def _utility(source: Source) -> Iterable[str]:
    if not source.predicate.utility:
        return
    yield from ("## Utility", "", "| measure | value | computed on |", "|---|---|---|")
    for part in source.predicate.utility:
        name = escaped(part.name.replace("_", " "))
        yield f"| {name} | {part.value:.4g} | {escaped(part.data)} |"
    yield ""


def _training(said: Predicate) -> Iterable[str]:
    steps = [
        f"{part.phase} {part.counted:,} of {part.planned:,}"
        for part in said.realised.phases
    ]
    yield f"Steps begun, phase by phase: {', '.join(steps)}."
    yield f"Noise levels learn from: {', '.join(_sources(said))}."


def _sources(said: Predicate) -> Iterable[str]:
    for stage in said.plan.stages:
        sigma = f"sigma {stage.sigma_min:g} to {stage.sigma_max:g}"
        yield f"{stage.name.value} ({sigma}) {stage.source.value}"


def _shape(said: Predicate) -> str:
    data = said.plan.data
    return f"{data.height} x {data.width} x {data.channels}"


def _yaml(values: Mapping[str, Value], depth: int = 0) -> Iterable[str]:
    """Write names and values as YAML; every text is quoted as in JSON."""
    for name, value in values.items():
        key = "  " * depth + f"{name}:"
        if isinstance(value, Mapping):
            yield key
            yield from _yaml(value, depth + 1)
        elif isinstance(value, str | bool | float):
            yield f"{key} {_scalar(value)}"
        else:
            yield f"{key} [{', '.join(_scalar(item) for item in value)}]"


def _scalar(value: str | float) -> str:
    """Write one value so that every reader of YAML takes it for the same.

    Example:
        >>> _scalar(1e-05), _scalar(2.0), _scalar(True), _scalar("a: #")
        ('1.0e-05', '2', 'true', '"a: #"')
    """
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return _UNPRINTED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value == int(value) and abs(value) < 2**53:
        return str(int(value))
    digits, _, power = repr(value).partition("e")
    whole = digits if "." in digits else f"{digits}.0"
    return f"{whole}e{power}" if power else whole
