"""How fast are synthetic images drawn, and what do they look like?

    python benchmarks/generators.py                 images per second on one core
    python benchmarks/generators.py --pictures      also render the grids of docs/

The figure is images per CPU second of one thread, the best of several rounds, in blocks
as training draws them. The grids come from a public seed and are the same every time.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from diffusion.synthetic import BLOCK, KINDS, generate

GREY = {"channels": 1, "height": 28, "width": 28}
RGB = {"channels": 3, "height": 32, "width": 32}
FOLDER = Path(__file__).parents[1] / "docs" / "generators"
_ROWS, _COLUMNS, _GAP = 4, 8, 2


def images_per_second(kind: str, *, rounds: int, size: dict[str, int]) -> float:
    """Time one kind on one thread; the best round, as other work only slows it."""
    count = 4 * BLOCK
    generate(kind, BLOCK, seed=0, **size)
    best = float("inf")
    for seed in range(rounds):
        start = time.process_time()
        generate(kind, count, seed=seed, **size)
        best = min(best, time.process_time() - start)
    return count / best


def grid(kind: str, size: dict[str, int]) -> Image.Image:
    """Lay 32 images of one kind side by side on white."""
    images = generate(kind, _ROWS * _COLUMNS, seed=1, **size)
    pixels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    high, wide = (side + _GAP for side in (size["height"], size["width"]))
    canvas = np.full((_ROWS * high + _GAP, _COLUMNS * wide + _GAP, 3), 255, np.uint8)
    for number, picture in enumerate(pixels):
        top, left = divmod(number, _COLUMNS)
        top, left = top * high + _GAP, left * wide + _GAP
        canvas[top : top + size["height"], left : left + size["width"]] = (
            picture.transpose(1, 2, 0)
        )
    return Image.fromarray(canvas)


def render() -> None:
    """Write one picture per kind: grey 28x28 to the left, RGB 32x32 to the right."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        left, right = grid(kind, GREY), grid(kind, RGB)
        whole = Image.new("RGB", (left.width + right.width + 8, right.height), "white")
        whole.paste(left, (0, 0))
        whole.paste(right, (left.width + 8, 0))
        reduced = whole.quantize(128)
        reduced.save(FOLDER / f"{kind}.png", optimize=True)
        print(f"{kind:16} {(FOLDER / f'{kind}.png').stat().st_size / 1000:6.0f} kB")


def main() -> None:
    """Read the options, print the table, render if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", action="store_true", help="render the grids")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'images per second':16} {'28x28x1':>9} {'32x32x3':>9}")
    for kind in KINDS:
        grey, rgb = (
            images_per_second(kind, rounds=options.rounds, size=size)
            for size in (GREY, RGB)
        )
        print(f"{kind:16} {grey:9,.0f} {rgb:9,.0f}", flush=True)
    if options.pictures:
        render()


if __name__ == "__main__":
    main()
