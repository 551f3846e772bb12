"""The private and public sets of `pairs.py` that no publisher cut this way."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diffusion.data import load_public
from privplan.budget import PrivacyUnit

PATIENT = PrivacyUnit(name="patient", max_records=3)
HALF = 5
PARTS = {
    "other-half": ("cifar", range(HALF)),
    "private-half": ("cifar", range(HALF, 2 * HALF)),
    "chest": ("pneumonia", range(2)),
}


def part(source: str, classes: range, path: Path) -> str:
    """Write the images of some classes, numbered from zero."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        found: dict[str, Any] = {"classes": np.asarray(len(classes))}
        with np.load(source, allow_pickle=False) as archive:
            for split in ("train", "test"):
                labels = archive[f"{split}_labels"].astype(np.int64)
                chosen = np.isin(labels, classes)
                found[f"{split}_images"] = archive[f"{split}_images"][chosen]
                found[f"{split}_labels"] = labels[chosen] - classes.start
        np.savez(path, **found)
    return str(path)


def patients(source: str, folder: Path) -> str:
    """Write a folder whose labels.csv declares every three images of a class one."""
    table = folder / "labels.csv"
    if not table.exists():
        folder.mkdir(parents=True, exist_ok=True)
        images = load_public(source)
        seen, rows = [0] * images.classes, [("file", "label", PATIENT.name)]
        for number, label in enumerate(images.labels.tolist()):
            patient = f"{label}-{seen[label] // PATIENT.max_records}"
            seen[label] += 1
            rows.append((f"{number}.png", str(label), patient))
            pixels = images.images[number, 0].numpy()
            Image.fromarray(pixels).save(folder / f"{number}.png")
        with table.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return str(folder)
