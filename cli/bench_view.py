"""The table of `privplan bench`: medians and standard errors, one block per budget."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.columns import Column, print_fitted
from cli.paper import console, print_json

if TYPE_CHECKING:
    from diffusion.bench import Cell

_SCORES = {
    "LR": "logistic_regression",
    "SVM": "svm",
    "MLP": "mlp",
    "CNN": "cnn",
}
_COLUMNS = (
    Column(title="recipe", folds=True),
    Column(title="LR", side="right"),
    Column(title="SVM", side="right", rank=1),
    Column(title="MLP", side="right", rank=2),
    Column(title="CNN", side="right"),
    Column(title="Frechet", side="right"),
    Column(title="to train", side="right", rank=4),
)
NOTE = (
    "Public benchmark data: what is chosen by this table is chosen without charge, so "
    "it holds as free only for other data."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One recipe at one budget.

    Attributes:
        name: The recipe.
        epsilon: The budget.
        cells: Its repetitions.
        own: Whether the numbers are those of the recipe's own Gaussian query.
    """

    name: str
    epsilon: float
    cells: Sequence[Cell]
    own: bool = False

    def values(self, name: str) -> list[float]:
        """Return one number of every repetition."""
        found = (c.its_gaussian if self.own else c.scores for c in self.cells)
        return [numbers[name] for numbers in found if numbers is not None]


def standard_error(values: Sequence[float]) -> float | None:
    """Return the standard error of the mean; None for a single value.

    Example:
        >>> standard_error([1.0, 2.0, 3.0]) == 1 / 3**0.5, standard_error([1.0])
        (True, None)
    """
    if len(values) < 2:
        return None
    return statistics.stdev(values) / math.sqrt(len(values))


def rows_of(cells: Sequence[Cell]) -> list[Row]:
    """Gather repetitions; a recipe with a query of its own gets a second row."""
    groups: dict[tuple[str, float], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.recipe, cell.epsilon), []).append(cell)
    rows = []
    for (name, epsilon), found in groups.items():
        rows.append(Row(name=name, epsilon=epsilon, cells=found))
        if found[0].its_gaussian is not None and name != "gaussian":
            rows.append(
                Row(name="  its query alone", epsilon=epsilon, cells=found, own=True)
            )
    return rows


def show(cells: Sequence[Cell], features: str, folder: Path, *, as_json: bool) -> None:
    """Print the table, or everything as JSON."""
    rows = rows_of(cells)
    if as_json:
        print_json(_document(rows, features, folder))
        return
    out = console()
    real = [row for row in rows if row.cells[0].plan is None]
    for epsilon in dict.fromkeys(r.epsilon for r in rows if r not in real):
        out.print(f"epsilon {epsilon:g}", style="bold")
        shown = [r for r in rows if r not in real and r.epsilon == epsilon]
        texts = [_texts(row, features) for row in [*shown, *real]]
        print_fitted(out, _COLUMNS, texts)
        for row in shown:
            if not row.own:
                out.print(_work(row), soft_wrap=True)
        out.print("")
    runs = max(len(row.cells) for row in rows)
    out.print(f"Medians of {runs} runs ± standard errors; accuracy in percent.")
    out.print(f"Frechet on {features}, to held-out images; smaller is closer.")
    out.print("CPU s: to train and to draw the samples.")
    out.print(NOTE)
    if len({cell.source_digest for cell in cells}) > 1:
        out.print(
            "These cells were made by different versions of the program; for one "
            "version give a new --out."
        )


def _texts(row: Row, features: str) -> list[str]:
    close = row.values(f"frechet {features}")
    accuracies = [_spread(row.values(name), 100) for name in _SCORES.values()]
    seen = row.values(f"frechet to training {features}")
    name = row.name.replace(",", ", ").replace(":", " :")
    return [name, *accuracies, _spread(close, 1), _spread(seen, 1)]


def _spread(values: Sequence[float], unit: float) -> str:
    median, error = statistics.median(values) * unit, standard_error(values)
    digits = 1 if abs(median) >= 10 else 2
    if error is None:
        return f"{median:.{digits}f}"
    return f"{median:.{digits}f}±{error * unit:.{digits}f}"


def _work(row: Row) -> str:
    plan = row.cells[0].plan
    used = statistics.median(sum(cell.seconds.values()) for cell in row.cells)
    if plan is None or not plan.steps:
        return f"{row.name}: no training, {used:.0f} CPU s"
    return (
        f"{row.name}: {plan.steps:,} steps, rate {plan.sample_rate:g}, K "
        f"{plan.noise_multiplicity}, noise {plan.noise_multiplier:g}, "
        f"{used:.0f} CPU s"
    )


def _document(rows: Sequence[Row], features: str, folder: Path) -> dict[str, Any]:
    return {
        "kind": "public",
        "note": NOTE,
        "features": features,
        "folder": str(folder),
        "rows": [
            {
                "recipe": row.cells[0].recipe,
                "of": "its query alone" if row.own else "samples",
                "epsilon": row.epsilon,
                "runs": len(row.cells),
                "plan": None
                if row.cells[0].plan is None
                else row.cells[0].plan.model_dump(mode="python"),
                "scores": {
                    name: {
                        "median": statistics.median(row.values(name)),
                        "standard_error": standard_error(row.values(name)),
                        "values": row.values(name),
                    }
                    for name in row.cells[0].scores
                },
                "cpu_seconds": [dict(cell.seconds) for cell in row.cells],
            }
            for row in rows
        ],
    }
