"""How fast are large data read? Index build, Poisson batches, peak memory, by form.

    python benchmarks/reading.py                     100,000 grey 28 x 28 PNG images
    python benchmarks/reading.py --records 10000     fewer

Rates are records per second of processor time, so that other work on the machine counts
little; beside each stands its ratio to plain sequential reading of the same form in the
same run: open, take one record after the other, decode. "Index" is making the index,
"batch" reading Poisson batches through it.

Synthetic images are written to a temporary folder (--folder to choose another disk) and
removed afterwards. Each form is read in a process of its own, so that its peak memory
is its own; the memory of an idle process that has imported the same is shown first.
Files just written are in the page cache: a first read from a disk is slower.
"""

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from pyarrow import ipc, parquet

from diffusion.data import PrivateImages, load_private
from diffusion.poisson import poisson_batch
from diffusion.randomness import RandomSource
from diffusion.readers import many_files
from diffusion.readers.index_build import make

BATCH, BATCHES, PER_SHARD = 512, 20, 10_000
FORMS = ("files", "tar", "arrow", "parquet")


def images(records: int) -> Iterator[tuple[int, bytes]]:
    rng = np.random.default_rng(0)
    for number in range(records):
        file = io.BytesIO()
        pixels = rng.integers(0, 32, (28, 28), dtype=np.uint8) * 8
        Image.fromarray(pixels).save(file, "PNG", compress_level=1)
        yield number, file.getvalue()


def write_files(folder: Path, records: int) -> None:
    for label in range(10):
        (folder / str(label)).mkdir(parents=True)
    for number, content in images(records):
        (folder / str(number % 10) / f"{number:07}.png").write_bytes(content)


def write_tar(folder: Path, records: int) -> None:
    folder.mkdir()
    archive = None
    for number, content in images(records):
        if number % PER_SHARD == 0:
            if archive is not None:
                archive.close()
            name = folder / f"{number // PER_SHARD:04}.tar"
            archive = tarfile.open(name, "w")  # noqa: SIM115 - spans many turns
        for ending, part in (("png", content), ("cls", str(number % 10).encode())):
            member = tarfile.TarInfo(f"{number:07}.{ending}")
            member.size = len(part)
            archive.addfile(member, io.BytesIO(part))
    archive.close()


def write_columns(folder: Path, records: int, *, as_parquet: bool) -> None:
    folder.mkdir()
    pairs = list(images(records))
    for start in range(0, records, PER_SHARD):
        part = pairs[start : start + PER_SHARD]
        labels = [number % 10 for number, _ in part]
        table = pa.table({"image": [content for _, content in part], "label": labels})
        name = folder / f"{start // PER_SHARD:04}"
        if as_parquet:
            parquet.write_table(table, f"{name}.parquet", row_group_size=500)
            continue
        with ipc.new_file(f"{name}.arrow", table.schema) as writer:
            writer.write_table(table, max_chunksize=1000)


def write(form: str, folder: Path, records: int) -> None:
    if form == "files":
        write_files(folder, records)
    elif form == "tar":
        write_tar(folder, records)
    else:
        write_columns(folder, records, as_parquet=form == "parquet")


def plainly(source: Path) -> Iterator[bytes]:
    """Yield every image of a form in the order in which it lies there."""
    if source.name == "files":
        for path in sorted(source.rglob("*.png")):
            yield path.read_bytes()
    for shard in sorted(source.glob("*.tar")):
        with tarfile.open(shard) as archive:
            for member in archive:
                if member.name.endswith(".png"):
                    yield archive.extractfile(member).read()
    for shard in sorted(source.glob("*.arrow")):
        with pa.memory_map(str(shard)) as file:
            for part in range((table := ipc.open_file(file)).num_record_batches):
                yield from table.get_batch(part).column("image").to_pylist()
    for shard in sorted(source.glob("*.parquet")):
        for part in parquet.ParquetFile(shard).iter_batches(500, columns=["image"]):
            yield from part.column("image").to_pylist()


def sequential(source: Path) -> int:
    """Decode every image once and return how many there were."""
    count = 0
    for content in plainly(source):
        np.asarray(Image.open(io.BytesIO(content)))
        count += 1
    return count


def peak() -> float:
    """Return the largest memory this process has held, in MB; needs Linux.

    Not what `getrusage` says: that begins with the memory of whoever started it.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def batches(found: PrivateImages) -> int:
    """Read Poisson batches and return how many records were in them."""
    random, drawn = RandomSource(), 0
    for _ in range(BATCHES):
        chosen = poisson_batch(
            random.stream(),
            records=found.contributors,
            sample_rate=BATCH / found.contributors,
        )
        drawn += len(found.batch(chosen)[0])
    return drawn


def read(source: str) -> None:
    """Measure one form in this process and print a line."""
    many_files.LARGE = 0  # an index whatever the number
    idle, began = peak(), time.process_time()
    index = make(source, "train", None, None)
    build, building = time.process_time() - began, peak()
    began = time.perf_counter()
    found = load_private(source)
    opened = time.perf_counter() - began
    began = time.process_time()
    drawn = batches(found)
    batch, reading = drawn / (time.process_time() - began), peak()
    records, size = found.contributors, index.stat().st_size / 1e6
    began = time.process_time()
    plain = sequential(Path(source)) / (time.process_time() - began)
    print(
        f"{Path(source).name:<9}{plain:>9,.0f}{records / build:>9,.0f}"
        f"{records / build / plain:>7.2f}{batch:>9,.0f}{batch / plain:>7.2f}"
        f"{size:>8.1f}{opened:>8.2f}{idle:>8.0f}{building:>7.0f}{reading:>7.0f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--forms", nargs="+", default=FORMS, choices=FORMS)
    parser.add_argument("--read", default=None, help="Used by itself.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.read is not None:
        read(asked.read)
        return
    print(f"{asked.records:,} records; batches of {BATCH} expected, {BATCHES} of them")
    print("          plain     index  to     batch   to    index    open"
          "    peak memory, MB")  # fmt: skip
    print("form         /s        /s  plain       /s  plain     MB       s"
          "    idle  build   read", flush=True)  # fmt: skip
    for form in asked.forms:
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            write(form, Path(folder) / form, asked.records)
            command = [sys.executable, __file__, "--read", str(Path(folder) / form)]
            subprocess.run(command, check=True)  # noqa: S603 - this very file


if __name__ == "__main__":
    main()
