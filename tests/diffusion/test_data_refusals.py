"""Broken, hostile and misnamed files: one DataError each, which says nothing inside."""

import errno
import gzip
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion.data import describe, load_private
from diffusion.readers.records import DEFLATE_LIMIT, MAX_DECODED_BYTES, allow_size
from privplan.errors import DataError, ParameterError

INSIDE = "smith-42-hiv"
"""Names a file inside the private folder; no message may contain it."""
GREY = np.random.default_rng(21).integers(0, 256, (13, 6, 6), dtype=np.uint8)
LABELS = np.arange(13) % 3


def idx(folder, *, images=None, labels=None, ending=""):
    folder.mkdir()
    files = {
        "train-images-idx3-ubyte": images
        or struct.pack(">4I", 0x803, 13, 6, 6) + GREY.tobytes(),
        "train-labels-idx1-ubyte": labels
        or struct.pack(">2I", 0x801, 13) + LABELS.astype(np.uint8).tobytes(),
    }
    for name, data in files.items():
        packed = gzip.compress(data) if ending else data
        (folder / (name + ending)).write_bytes(packed)
    return folder


def npz(path, **arrays):
    content = {"train_images": GREY, "train_labels": LABELS} | arrays
    np.savez(
        path, **{key: array for key, array in content.items() if array is not None}
    )
    return path


def folder(path, *files):
    (path / "a").mkdir(parents=True)
    (path / "b").mkdir()
    Image.fromarray(GREY[0]).save(path / "a" / "0.png")
    for name, data in files:
        (path / "b" / name).write_bytes(data)
    return path


def table(path, text):
    path.mkdir()
    for number in range(3):
        Image.fromarray(GREY[number]).save(path / f"{number}.png")
    (path / "labels.csv").write_bytes(text)
    return path


def png(tmp_path, image=None):
    file = tmp_path / "one.png"
    (image or Image.fromarray(GREY[1])).save(file)
    data = file.read_bytes()
    file.unlink()
    return data


def chunk(kind, body):
    return (
        struct.pack(">I", len(body))
        + kind
        + body
        + struct.pack(">I", zlib.crc32(kind + body))
    )


def huge_png(side):
    head = chunk(b"IHDR", struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def swapped(path, old, new):
    path.write_bytes(path.read_bytes().replace(old, new))
    return path


def truncated(path, keep=0.6):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def cut_gz(tmp_path):
    source = idx(tmp_path / "set", ending=".gz")
    truncated(source / "train-images-idx3-ubyte.gz")
    return source


def outside(tmp_path, name):
    (tmp_path / f"{INSIDE}.png").write_bytes(png(tmp_path))
    return table(tmp_path / "set", f"file,label\n{name},1\n".encode())


def empty(path):
    path.write_bytes(b"")
    return path


def text(path):
    path.write_text("file,label\nnot an archive\n")
    return path


def link(path, target):
    path.symlink_to(target)
    return path


def loop_in_class(tmp_path):
    source = folder(tmp_path / "set")
    link(source / "b" / f"{INSIDE}.png", source / "b" / f"{INSIDE}.png")
    return source


def loop_to_parent(tmp_path):
    source = folder(tmp_path / "set")
    link(source / "b" / "up", source)
    return source


def stray(tmp_path):
    source = folder(tmp_path / "set")
    (source / f"{INSIDE}.png").write_bytes(png(tmp_path))
    return source


def other_class(tmp_path):
    folder(tmp_path / "set" / "train")
    (folder(tmp_path / "set" / "test") / INSIDE).mkdir()
    return tmp_path / "set"


def animation(tmp_path):
    file = tmp_path / "frames.tiff"
    one, two = Image.fromarray(GREY[0]), Image.fromarray(GREY[1])
    one.save(file, save_all=True, append_images=[two])
    return folder(tmp_path / "set", (f"{INSIDE}.tiff", file.read_bytes()))


def images_in(make):
    return lambda t: folder(t / "set", (f"{INSIDE}.png", make(t)))


def bzip2(tmp_path):
    source = npz(tmp_path / "x.npz")
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(source, "w", zipfile.ZIP_BZIP2) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return source


def u32(*numbers):
    return struct.pack(f">{len(numbers)}I", *numbers)


CASES = {
    "missing path": lambda t: t / "nowhere",
    "missing npz": lambda t: t / "nowhere.npz",
    "path with a null": lambda t: str(t / "a\0b"),
    "link in a circle": lambda t: link(t / "loop", t / "loop"),
    "unknown kind": lambda t: text(t / "notes.txt"),
    "device": lambda t: "/dev/null",
    "empty npz": lambda t: empty(t / "x.npz"),
    "text named npz": lambda t: text(t / "x.npz"),
    "cut npz": lambda t: truncated(npz(t / "x.npz")),
    "cut npz, tail kept": lambda t: swapped(npz(t / "x.npz"), GREY.tobytes(), b""),
    "flipped npz": lambda t: swapped(
        npz(t / "x.npz"), GREY.tobytes(), GREY[::-1].tobytes()
    ),
    "npz packed otherwise": bzip2,
    "npz without images": lambda t: npz(t / "x.npz", train_images=None),
    "npz without labels": lambda t: npz(t / "x.npz", train_labels=None),
    "npz of floats": lambda t: npz(t / "x.npz", train_images=GREY / 255),
    "npz of wide integers": lambda t: npz(
        t / "x.npz", train_images=GREY.astype(np.uint16)
    ),
    "npz of objects": lambda t: npz(t / "x.npz", train_images=GREY.astype(object)),
    "npz of records": lambda t: npz(
        t / "x.npz", train_images=np.zeros(3, dtype=[("a", "u1")])
    ),
    "npz of flat images": lambda t: npz(t / "x.npz", train_images=GREY[:, 0]),
    "npz with channels first": lambda t: npz(
        t / "x.npz", train_images=np.zeros((13, 3, 6, 6), dtype=np.uint8)
    ),
    "npz without records": lambda t: npz(
        t / "x.npz", train_images=GREY[:0], train_labels=LABELS[:0]
    ),
    "npz with float labels": lambda t: npz(t / "x.npz", train_labels=LABELS / 1),
    "npz with object labels": lambda t: npz(
        t / "x.npz", train_labels=LABELS.astype(object)
    ),
    "npz with too few labels": lambda t: npz(t / "x.npz", train_labels=LABELS[:-1]),
    "npz with one-hot labels": lambda t: npz(t / "x.npz", train_labels=np.eye(13) > 0),
    "npz with a negative label": lambda t: npz(t / "x.npz", train_labels=LABELS - 1),
    "npz with a label too large": lambda t: npz(t / "x.npz", train_labels=LABELS + 9),
    "npz with a label past 2^63": lambda t: npz(
        t / "x.npz", train_labels=np.full(13, 2**64 - 1, dtype=np.uint64)
    ),
    "npz with half a class": lambda t: npz(t / "x.npz", classes=2.5),
    "npz with nan classes": lambda t: npz(t / "x.npz", classes=np.nan),
    "npz with white nan": lambda t: npz(t / "x.npz", max_value=np.nan),
    "npz with white zero": lambda t: npz(t / "x.npz", max_value=0),
    "npz with many whites": lambda t: npz(t / "x.npz", max_value=[16, 16]),
    "empty idx": lambda t: idx(t / "set", images=b"\0"),
    "cut idx header": lambda t: idx(t / "set", images=u32(0x803, 13)),
    "cut idx": lambda t: idx(t / "set", images=u32(0x803, 13, 6, 6) + b"x" * 99),
    "long idx": lambda t: idx(t / "set", images=u32(0x803, 1, 2, 2) + b"x" * 5),
    "cut gz": cut_gz,
    "long gz": lambda t: idx(
        t / "set", images=u32(0x803, 13, 2, 2) + b"x" * 53, ending=".gz"
    ),
    "plain named gz": lambda t: (idx(t / "set") / "train-images-idx3-ubyte").rename(
        t / "set" / "train-images-idx3-ubyte.gz"
    ),
    "idx of signed bytes": lambda t: idx(
        t / "set", images=u32(0x903, 13, 6, 6) + GREY.tobytes()
    ),
    "labels in place of images": lambda t: idx(t / "set", images=u32(0x801, 13) * 9),
    "idx without records": lambda t: idx(t / "set", images=u32(0x803, 0, 6, 6)),
    "idx bomb": lambda t: idx(
        t / "set", images=u32(0x803, 13, 2**31, 2**31) + b"x" * 99, ending=".gz"
    ),
    "idx with too few labels": lambda t: idx(
        t / "set", labels=u32(0x801, 12) + bytes(12)
    ),
    "idx with a label too large": lambda t: idx(
        t / "set", labels=u32(0x801, 13) + bytes([10] * 13)
    ),
    "idx without labels": lambda t: [
        idx(t / "set"),
        (t / "set" / "train-labels-idx1-ubyte").unlink(),
    ][0],
    "empty folder": lambda t: [(t / "set").mkdir(), t / "set"][1],
    "folders without images": lambda t: [(t / "set" / "a").mkdir(parents=True), t][1],
    "images without classes": stray,
    "file of another kind": lambda t: folder(t / "set", (f"{INSIDE}.docx", b"x")),
    "text named png": images_in(lambda t: b"this is not an image"),
    "empty png": images_in(lambda t: b""),
    "cut png": images_in(lambda t: png(t)[:60]),
    "cut png header": images_in(lambda t: png(t)[:20]),
    "png bomb": images_in(lambda t: huge_png(12_000)),
    "png bomb beyond Pillow": images_in(lambda t: huge_png(60_000)),
    "jpeg named png": images_in(lambda t: b"\xff\xd8\xff\xe0" + b"\0" * 64),
    "16-bit png": images_in(
        lambda t: png(t, Image.fromarray(GREY[0].astype(np.uint16) * 256))
    ),
    "other size": images_in(lambda t: png(t, Image.fromarray(GREY[0, :5]))),
    "several frames": animation,
    "broken link": loop_in_class,
    "folder in a class": loop_to_parent,
    "test class unknown": other_class,
    "table without label": lambda t: table(t / "set", b"file,target\n0.png,1\n"),
    "table without header": lambda t: table(t / "set", b"0.png,1\n1.png,0\n"),
    "table without rows": lambda t: table(t / "set", b"file,label\n"),
    "empty table": lambda t: table(t / "set", b""),
    "table in another alphabet": lambda t: table(
        t / "set", b"file,label\n\xff.png,1\n"
    ),
    "table of bytes": lambda t: table(t / "set", b'file,label\n"0.png,1\n'),
    "table naming a missing file": lambda t: table(
        t / "set", f"file,label\n{INSIDE}.png,1\n".encode()
    ),
    "table naming a file twice": lambda t: table(
        t / "set", b"file,label\n0.png,1\n./0.png,2\n"
    ),
    "table leaving the folder": lambda t: outside(t, f"../{INSIDE}.png"),
    "table with an absolute path": lambda t: outside(t, t / f"{INSIDE}.png"),
    "table with a long row": lambda t: table(t / "set", b"file,label\n0.png,1,2\n"),
    "table with a short row": lambda t: table(t / "set", b"file,label\n0.png\n"),
    "table with a name": lambda t: table(
        t / "set", f"file,label\n0.png,{INSIDE}\n".encode()
    ),
    "table with a negative label": lambda t: table(
        t / "set", b"file,label\n0.png,-1\n"
    ),
    "table with a label too large": lambda t: table(
        t / "set", b"file,label\n0.png,10\n"
    ),
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_a_bad_source_is_refused_in_two_lines_that_tell_nothing_inside(tmp_path, make):
    """A decoder's traceback quotes names, sizes and bytes from a private folder."""
    source = str(make(tmp_path))
    split = "test" if (tmp_path / "set" / "test").exists() else "train"
    with pytest.raises(DataError) as refusal:
        load_private(source, split=split)
    error = refusal.value
    told = (error.message + error.hint).replace(source, "")
    assert INSIDE not in told
    assert "13" not in told, "the number of records"
    assert "\n" not in told
    assert error.hint
    assert not error.message.endswith(".")
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("png bomb", "million pixels"),
        ("png bomb beyond Pillow", "million pixels"),
        ("idx bomb", "more data than a file of its size can hold"),
        ("npz of objects", "Python objects"),
        ("16-bit png", "more than 8 bits"),
        ("several frames", "several frames"),
        ("missing path", "does not exist"),
        ("link in a circle", "leads in a circle"),
    ],
)
def test_a_refusal_names_the_reason_that_the_header_shows(tmp_path, case, words):
    """Left to the decoder, a bomb would first fill the memory, then look damaged."""
    with pytest.raises(DataError, match=words):
        load_private(str(CASES[case](tmp_path)))


@pytest.mark.parametrize("form", ["idx", "npz", "folder", "table"])
def test_a_file_that_may_not_be_read_is_refused(tmp_path, form, monkeypatch):
    """The system's own message would name the file inside the folder."""
    source = {
        "idx": lambda: idx(tmp_path / "set"),
        "npz": lambda: npz(tmp_path / "x.npz"),
        "folder": lambda: folder(tmp_path / "set", (f"{INSIDE}.png", png(tmp_path))),
        "table": lambda: table(tmp_path / "set", b"file,label\n0.png,1\n"),
    }[form]()

    def deny(*_arguments, **_options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), INSIDE)

    # the tests may run as root, whom no permission stops
    for owner, name in ((Path, "open"), (Image, "open"), (zipfile, "ZipFile")):
        monkeypatch.setattr(owner, name, deny)
    with pytest.raises(DataError, match="may not be read") as refusal:
        load_private(str(source))
    assert INSIDE not in str(refusal.value)


@pytest.mark.parametrize("form", ["idx", "gz", "npz", "png", "csv"])
def test_no_damage_of_one_byte_escapes_as_anything_but_a_data_error(tmp_path, form):
    """Pillow, zipfile and NumPy raise a dozen types on damaged input."""
    source = {
        "idx": lambda: idx(tmp_path / "set"),
        "gz": lambda: idx(tmp_path / "set", ending=".gz"),
        "npz": lambda: npz(tmp_path / "x.npz"),
        "png": lambda: folder(tmp_path / "set"),
        "csv": lambda: table(tmp_path / "set", b"file,label\n0.png,1\n1.png,2\n"),
    }[form]()
    pattern = {"idx": "*images*", "gz": "*images*", "png": "a/*", "csv": "*.csv"}
    target = source if form == "npz" else next(iter(source.glob(pattern[form])))
    good = target.read_bytes()
    random = np.random.default_rng(22)
    anywhere = random.integers(0, len(good), 150)
    in_the_header = random.integers(0, min(len(good), 40), 100)
    refused = 0
    for position in (*anywhere, *in_the_header):
        bad = bytearray(good)
        bad[position] ^= 1 << random.integers(8)
        target.write_bytes(bytes(bad))
        try:
            load_private(str(source))
        except DataError:
            refused += 1
    assert refused > 10, "the damage never reached the decoder"


def test_a_header_may_claim_what_deflate_can_hold_and_not_a_byte_more():
    """A bomb is a small file that claims to be large; memory must not follow it."""
    allow_size("it", decoded=DEFLATE_LIMIT * 100, stored=100)
    allow_size("it", decoded=MAX_DECODED_BYTES)
    for decoded, stored in (
        (DEFLATE_LIMIT * 100 + 1, 100),
        (MAX_DECODED_BYTES + 1, None),
        (0, None),
    ):
        with pytest.raises(DataError):
            allow_size("it", decoded=decoded, stored=stored)


def test_the_best_that_deflate_can_do_is_still_let_in(tmp_path):
    """A guard below deflate's true limit would refuse a set of blank images."""
    images = np.zeros((4000, 64, 64), dtype=np.uint8)
    np.savez_compressed(
        tmp_path / "x.npz", train_images=images, train_labels=np.zeros(4000, dtype=int)
    )
    assert images.nbytes > 900 * (tmp_path / "x.npz").stat().st_size
    assert load_private(str(tmp_path / "x.npz")).images.sum() == 0


@pytest.mark.parametrize(
    "parameters",
    [
        {"image_size": 0},
        {"image_size": 100_000},
        {"classes": 0},
        {"classes": -3},
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(parameters):
    """An image size of zero would give tensors without pixels, and a loss of NaN."""
    with pytest.raises(ParameterError):
        describe("digits", **parameters)


@pytest.mark.parametrize("form", ["idx", "one", "npz", "folder"])
def test_a_test_split_that_is_not_there_is_refused(tmp_path, form):
    """Falling back on the training split would flatter every evaluation."""
    source = {
        "idx": lambda: idx(tmp_path / "set"),
        "one": lambda: idx(tmp_path / "set") / "train-images-idx3-ubyte",
        "npz": lambda: npz(tmp_path / "x.npz"),
        "folder": lambda: folder(tmp_path / "set"),
    }[form]()
    load_private(str(source))
    with pytest.raises(DataError):
        load_private(str(source), split="test")
