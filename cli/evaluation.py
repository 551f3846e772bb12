"""`privplan evaluate`: scores with their badge; private ones for one screen only.

PUBLIC   samples, and the Gaussian query alone, against public held-out images
CHARGED  samples against a noisy answer in the ledger
LOCAL    anything compared with private images; shown here and kept nowhere
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.paper import console, print_json, table
from privplan import canonical, files
from privplan.errors import ParameterError
from privplan.plan import Plan
from privplan.run_report import EVALUATION_NAME

if TYPE_CHECKING:
    from diffusion.data import ImageSet, PublicImages
    from diffusion.evaluation.features import Extractor
    from diffusion.evaluation.scores import Scores

SAMPLES, BASELINE, REAL, COPIES = "samples", "its query alone", "real images", "copies"
_EMBEDDED = "digits"
_BADGES = {
    "public": "PUBLIC: computed on public held-out images",
    "charged": "CHARGED: compared with a noisy answer that the ledger holds",
    "local": "LOCAL: computed from private images; for your eyes, never for a release",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One number on its way to a screen.

    Attributes:
        of: What was scored.
        name: Of the number.
        value: It.
        kind: "public", "charged" or "local".
    """

    of: str
    name: str
    value: float
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an evaluation is asked for.

    Attributes:
        data: Source of the held-out images, and of the training images.
        image_size: Side to resize to.
        public: Whether the held-out images are public.
        features: Text of `--features`.
        records: Whether to compare with the training images as well.
    """

    data: str
    image_size: int | None
    public: bool
    features: str = "encoder"
    records: bool = False


def evaluate(plan: Plan, folder: Path, wanted: Wanted) -> list[Result]:
    """Score the samples of a run; keep what may be kept in `evaluation.json`.

    Raises:
        DataError: No held-out images, or of another shape.
        ParameterError: The plan knows captions and no classes.
    """
    if plan.training.text is not None:
        raise ParameterError(
            "scores compare classes, and this run was trained on captions",
            hint="compare samples for prompts of your own by eye, or plan with classes",
        )
    from diffusion import sampling  # noqa: PLC0415 - imports torch
    from diffusion.evaluation import released  # noqa: PLC0415
    from diffusion.evaluation.features import extractor  # noqa: PLC0415

    samples = sampling.read(folder)
    features = extractor(wanted.features, samples.shape)
    answers = released.answers_of(plan, folder)
    own = released.baseline_of(plan, answers, len(samples.labels))
    sets = {SAMPLES: samples} | ({} if own is None else {BASELINE: own})
    found = _against_held_out(plan, sets, features, wanted)
    apart = released.label_distance(plan, answers, samples)
    if apart is not None:
        found.append(
            Result(
                of=SAMPLES,
                name=f"label distance to '{apart.phase}'",
                value=apart.value,
                kind="charged",
            )
        )
    kept = [result for result in found if result.kind != "local"]
    if wanted.public:
        _keep(folder, kept)
    if wanted.records:
        found += _against_records(plan, samples, features, wanted)
    return found


def show(found: list[Result], *, as_json: bool) -> None:
    """Print results under their badges.

    The JSON names the kind of each; `scores` holds those of the samples alone.
    """
    if as_json:
        held_out = [r for r in found if r.of == SAMPLES and r.kind != "charged"]
        print_json(
            {
                "kind": held_out[0].kind,
                "scores": {r.name: r.value for r in held_out},
                "results": [asdict(result) for result in found],
            }
        )
        return
    for kind, badge in _BADGES.items():
        chosen = [result for result in found if result.kind == kind]
        if not chosen:
            continue
        console().print(badge)
        titles = list(dict.fromkeys(result.of for result in chosen))
        names = list(dict.fromkeys(result.name for result in chosen))
        cells = {(r.name, r.of): _text(r.value) for r in chosen}
        columns = [("score", "left"), *((title, "right") for title in titles)]
        rows = [[name, *(cells.get((name, t), "") for t in titles)] for name in names]
        console().print(table(columns, rows))


def _against_held_out(
    plan: Plan,
    sets: Mapping[str, PublicImages],
    features: Extractor,
    wanted: Wanted,
) -> list[Result]:
    from diffusion.data import load_private, load_public  # noqa: PLC0415
    from diffusion.evaluation import scores  # noqa: PLC0415

    where = {"split": "test", "image_size": wanted.image_size}
    classes = plan.data.classes
    if wanted.public:
        seen = load_public(wanted.data, classes=classes, **where)  # type: ignore[arg-type]
        return [
            result
            for of, images in sets.items()
            for result in _results(of, scores.evaluate(images, seen, features))
        ]
    unseen = load_private(wanted.data, classes=classes, **where)  # type: ignore[arg-type]
    return [
        result
        for of, images in sets.items()
        for result in _results(
            of,
            scores.evaluate_locally(images, unseen, features).show_to_the_data_holder(),
            kind="local",
        )
    ]


def _against_records(
    plan: Plan, samples: PublicImages, features: Extractor, wanted: Wanted
) -> list[Result]:
    """Compare with the training images: a ceiling, and a look for copies.

    Training images are private, whatever the held-out ones are; the embedded digits
    alone are public by what they are.
    """
    from diffusion.data import load_private, load_public  # noqa: PLC0415
    from diffusion.evaluation import copies, scores  # noqa: PLC0415

    size, classes = wanted.image_size, plan.data.classes
    held_out: ImageSet = (load_public if wanted.public else load_private)(
        wanted.data, split="test", image_size=size, classes=classes
    )
    train = load_private(wanted.data, image_size=size, classes=classes)
    kind = "public" if wanted.data == _EMBEDDED else "local"
    ceiling = scores.evaluate_locally(train, held_out, features)
    found = _results(REAL, ceiling.show_to_the_data_holder(), kind=kind)
    counted = copies.copies_locally(samples, train, held_out)
    numbers = asdict(counted.show_to_the_data_holder())
    return found + _rows(COPIES, numbers.items(), kind)


def _results(of: str, scores: Scores, kind: str = "public") -> list[Result]:
    return _rows(of, scores.numbers().items(), kind)


def _rows(of: str, numbers: Iterable[tuple[str, float]], kind: str) -> list[Result]:
    return [
        Result(of=of, name=name.replace("_", " "), value=float(value), kind=kind)
        for name, value in numbers
    ]


def _keep(folder: Path, found: list[Result]) -> None:
    scores = {
        r.name if r.of == SAMPLES else f"{r.of}: {r.name}": canonical.decimal_text(
            r.value
        )
        for r in found
    }
    text = canonical.canonical_bytes(
        {"data": "public by declaration", "scores": {**scores}}
    )
    files.write_bytes(folder / EVALUATION_NAME, text, what="evaluation")


def _text(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"
