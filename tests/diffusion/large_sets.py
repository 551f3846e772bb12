"""One small data set, written in every form that is read through an index."""

import csv
import io
import json
import tarfile

import numpy as np
from PIL import Image

RECORDS = 12
PIXELS = np.random.default_rng(7).integers(0, 256, (RECORDS, 6, 5), dtype=np.uint8)
LABELS = [number % 3 for number in range(RECORDS)]
PATIENTS = [f"p{number // 3}" for number in range(RECORDS)]


def png(pixels):
    """The bytes of one image file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


CONTENTS = [png(pixels) for pixels in PIXELS]


def tar_files(number):
    """The files of one record in a shard, by their endings."""
    fields = json.dumps({"patient": PATIENTS[number]}).encode()
    label = str(LABELS[number]).encode()
    return {"png": CONTENTS[number], "cls": label, "json": fields}


def write_tar(path, samples):
    """Write one shard; `samples` are pairs of a stem and its files."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for stem, files in samples:
            for ending, content in files.items():
                member = tarfile.TarInfo(f"{stem}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def tar(folder):
    """Two shards of six records."""
    for shard in (0, 1):
        numbers = range(6 * shard, 6 * shard + 6)
        samples = [(f"{number:04}", tar_files(number)) for number in numbers]
        write_tar(folder / f"part-{shard}.tar", samples)
    return folder


def table(**changes):
    """The columns of an Arrow table."""
    import pyarrow as pa

    columns = {"image": CONTENTS, "label": LABELS, "patient": PATIENTS} | changes
    return pa.table({k: v for k, v in columns.items() if v is not None})


def parquet(folder):
    """One Parquet file in row groups of five."""
    from pyarrow import parquet as writer

    folder.mkdir()
    writer.write_table(table(), folder / "part.parquet", row_group_size=5)
    return folder


def arrow(folder):
    """One Arrow file in batches of five."""
    from pyarrow import ipc

    folder.mkdir()
    content = table()
    with ipc.new_file(str(folder / "part.arrow"), content.schema) as writer:
        writer.write_table(content, max_chunksize=5)
    return folder


def stream(folder):
    """One Arrow stream, as the library `datasets` writes it."""
    from pyarrow import ipc

    folder.mkdir()
    content = table()
    with ipc.new_stream(str(folder / "part.arrow"), content.schema) as writer:
        writer.write_table(content, max_chunksize=5)
    return folder


def files(folder, contents=CONTENTS, labels=LABELS, patients=PATIENTS):
    """A folder with a labels.csv that has a column for the patient."""
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "patient"])
        for number, content in enumerate(contents):
            (folder / f"{number}.png").write_bytes(content)
            writer.writerow([f"{number}.png", labels[number], patients[number]])
    return folder


FORMS = {
    "tar": tar,
    "parquet": parquet,
    "arrow": arrow,
    "stream": stream,
    "files": files,
}
