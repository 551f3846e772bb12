"""Images go in through every reader and come out as NumPy wrote them."""

import gzip
import hashlib
import json
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from diffusion.data import (
    DataShape,
    ImageSet,
    PrivateImages,
    PublicImages,
    data_digest,
    describe,
    load_private,
    load_public,
)
from privplan.errors import DataError, ParameterError

RNG = np.random.default_rng(20)
GREY = RNG.integers(0, 256, (7, 5, 4), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (7, 5, 4, 3), dtype=np.uint8)
LABELS = np.array([2, 0, 1, 2, 2, 0, 1])


def idx_bytes(array):
    head = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_idx(folder, images, labels, *, prefix="train", ending=""):
    folder.mkdir(exist_ok=True)
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        data = idx_bytes(array)
        file = folder / f"{prefix}-{name}-ubyte{ending}"
        file.write_bytes(gzip.compress(data) if ending else data)
    return folder


def write_classes(folder, images, labels, ending="png"):
    for name in sorted(set(labels)):
        (folder / f"class{name}").mkdir(parents=True)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(folder / f"class{label}" / f"{number:03}.{ending}")
    return folder


def write_table(folder, images, labels):
    folder.mkdir()
    rows = ["file,label,patient"]
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(folder / f"{number:03}.png")
        rows.append(f"{number:03}.png,{label},p{number}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def write_npz(path, images, labels, **more):
    np.savez_compressed(path, train_images=images, train_labels=labels, **more)
    return path


def stack(images):
    """What NumPy says the tensor should be: [n, c, h, w]."""
    return images.reshape(*images.shape[:3], -1).transpose(0, 3, 1, 2)


def same(found, images, labels, classes):
    assert np.array_equal(found.images.numpy(), stack(images))
    assert np.array_equal(found.labels.numpy(), labels)
    assert found.classes == classes
    assert found.images.is_contiguous(), "per-example engines need plain NCHW"


@pytest.mark.parametrize("load", [load_private, load_public])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_files_come_out_as_they_went_in(tmp_path, load, ending):
    """A wrong header length would shift every pixel of every image."""
    source = write_idx(tmp_path / "set", GREY, LABELS, ending=ending)
    same(load(str(source)), GREY, LABELS, 10)


def test_one_idx_file_finds_the_labels_beside_it(tmp_path):
    """Pairing train images with test labels would train on noise and say nothing."""
    source = write_idx(tmp_path / "set", GREY, LABELS)
    write_idx(source, GREY[:3], LABELS[:3], prefix="t10k")
    one = source / "t10k-images-idx3-ubyte"
    same(load_public(str(one)), GREY[:3], LABELS[:3], 10)
    same(load_public(str(source), split="test"), GREY[:3], LABELS[:3], 10)


@pytest.mark.parametrize("images", [GREY, GREY[..., None], COLOUR], ids=["3", "4", "c"])
@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], LABELS.astype(np.uint8)])
def test_npz_archives_come_out_as_they_went_in(tmp_path, images, labels):
    """Reading [N, H, W, C] as [N, C, H, W] would give scrambled colours."""
    source = write_npz(tmp_path / "set.npz", images, labels)
    same(load_private(str(source)), images, LABELS, 10)


def test_npz_arrays_in_column_order_are_read_in_row_order(tmp_path):
    """NumPy stores transposed arrays as Fortran order; bytes alone would mislead."""
    source = write_npz(tmp_path / "set.npz", np.asfortranarray(GREY), LABELS)
    same(load_private(str(source)), GREY, LABELS, 10)


@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("ending", ["png", "bmp", "tiff"])
def test_class_folders_come_out_as_they_went_in(tmp_path, images, ending):
    """Any conversion between grey and colour would change lossless pixels."""
    source = write_classes(tmp_path / "set", images, LABELS, ending)
    order = np.argsort(LABELS, kind="stable")
    same(load_private(str(source)), images[order], LABELS[order], 3)


def test_a_table_of_labels_comes_out_in_the_order_of_its_rows(tmp_path):
    """Sorting the files but not the rows would mix up the labels."""
    source = write_table(tmp_path / "set", GREY[::-1], LABELS[::-1])
    rows = (source / "labels.csv").read_text().splitlines()
    (source / "labels.csv").write_text("\n".join([rows[0], *rows[:0:-1]]))
    same(load_private(str(source), classes=3), GREY, LABELS, 3)


def test_train_and_test_folders_share_the_numbers_of_their_classes(tmp_path):
    """Numbering each split by itself would shift labels where a class is missing."""
    write_classes(tmp_path / "set" / "train", GREY, LABELS)
    test = write_classes(tmp_path / "set" / "test", GREY[:2], LABELS[:2] * 0 + 2)
    assert [folder.name for folder in test.iterdir()] == ["class2"]
    found = load_public(str(tmp_path / "set"), split="test")
    assert found.labels.tolist() == [2, 2]
    assert found.classes == 3


def test_the_first_file_decides_between_grey_and_colour(tmp_path):
    """Some folders mix both; the tensor cannot."""
    folder = tmp_path / "set" / "a"
    folder.mkdir(parents=True)
    Image.fromarray(GREY[0]).save(folder / "0.png")
    Image.fromarray(COLOUR[0]).save(folder / "1.png")
    found = load_public(str(tmp_path / "set"))
    assert found.shape.channels == 1
    luma = np.asarray(Image.fromarray(COLOUR[0]).convert("L"))
    assert np.array_equal(found.images[1, 0].numpy(), luma)


def test_the_embedded_digits_are_spread_over_all_bytes():
    """Values 0..16 taken as 0..255 would be nearly black, and noise would win."""
    digits = load_digits()
    train, test = load_public("digits"), load_public("digits", split="test")
    assert (train.shape.records, test.shape.records) == (1437, 360)
    images, labels = train.batch(torch.arange(1437))
    # half a byte of rounding is 1/255 of the range [-1, 1]
    exact = digits.images[:1437, None] / 8 - 1
    assert np.abs(images.numpy() - exact).max() <= 1 / 255 + 1e-6
    assert np.array_equal(labels.numpy(), digits.target[:1437])
    assert np.array_equal(test.labels.numpy(), digits.target[1437:])


def test_a_declared_white_scales_the_pixels_and_the_largest_pixel_does_not(tmp_path):
    """A range read off private pixels would be a release of their maximum."""
    images = np.array([[[0, 8], [16, 40]]], dtype=np.uint8)
    plain = write_npz(tmp_path / "a.npz", images, LABELS[:1])
    scaled = write_npz(tmp_path / "b.npz", images, LABELS[:1], max_value=16)
    assert load_public(str(plain)).images.flatten().tolist() == [0, 8, 16, 40]
    assert load_public(str(scaled)).images.flatten().tolist() == [0, 128, 255, 255]


@pytest.mark.parametrize(
    ("keys", "argument", "expected"),
    [
        ({}, None, 10),
        ({"classes": 4}, None, 4),
        ({"classes": np.array(["a", "b", "c"])}, None, 3),
        ({"class_names": np.array(["a", "b", "c", "d", "e"])}, None, 5),
        ({"class_names": np.array(["a", "b", "c", "d", "e"])}, 7, 7),
    ],
)
def test_the_number_of_classes_is_declared_and_never_counted(
    tmp_path, keys, argument, expected
):
    """Counting the labels that occur would publish that a class has no record."""
    source = str(write_npz(tmp_path / "set.npz", GREY, LABELS, **keys))
    assert describe(source, classes=argument).classes == expected
    assert load_private(source, classes=argument).classes == expected


def test_an_empty_class_folder_is_a_class(tmp_path):
    """Else the number of classes would tell whether the last record of one is there."""
    source = write_classes(tmp_path / "set", GREY, LABELS)
    (source / "class9").mkdir()
    assert describe(str(source)).classes == 4


@pytest.mark.parametrize("form", ["idx", "gz", "npz", "classes", "table", "digits"])
@pytest.mark.parametrize("size", [None, 3, 9])
def test_headers_promise_what_loading_gives(tmp_path, form, size):
    """A plan is made from headers; training would refuse a set of another shape."""
    source = {
        "idx": lambda: write_idx(tmp_path / "set", GREY, LABELS),
        "gz": lambda: write_idx(tmp_path / "set", GREY, LABELS, ending=".gz"),
        "npz": lambda: write_npz(tmp_path / "set.npz", COLOUR, LABELS),
        "classes": lambda: write_classes(tmp_path / "set", COLOUR, LABELS),
        "table": lambda: write_table(tmp_path / "set", GREY, LABELS),
        "digits": lambda: "digits",
    }[form]()
    promised = describe(str(source), image_size=size)
    assert isinstance(promised, DataShape)
    assert promised == load_private(str(source), image_size=size).shape


def test_planning_decodes_no_pixel_and_reads_no_label(tmp_path):
    """Planning from pixels would touch the data before a single step is charged."""
    gz = write_idx(tmp_path / "gz", GREY, LABELS + 90, ending=".gz")
    for file in gz.iterdir():
        file.write_bytes(file.read_bytes()[:-9])
    npz = tmp_path / "set.npz"
    # larger than the piece that zipfile reads ahead for the header
    images = RNG.integers(0, 256, (7, 64, 64), dtype=np.uint8)
    np.savez(npz, train_images=images, train_labels=LABELS + 90)
    npz.write_bytes(npz.read_bytes().replace(images[6].tobytes(), bytes(64 * 64)))
    folder = write_table(tmp_path / "folder", GREY, ["a name"] * 7)
    for file in folder.glob("*.png"):
        data = file.read_bytes()
        file.write_bytes(data[: data.index(b"IDAT") + 4] + b"\xff" * 60)
    for source in (gz, npz, folder):
        assert describe(str(source)).records == 7
        with pytest.raises(DataError):
            load_private(str(source))


def test_resizing_to_half_averages_boxes_of_four(tmp_path):
    """Picking every second pixel instead would keep noise and lose thin strokes."""
    images = RNG.integers(0, 256, (3, 8, 8), dtype=np.uint8)
    source = write_npz(tmp_path / "set.npz", images, LABELS[:3])
    found = load_public(str(source), image_size=4).images[:, 0].numpy()
    exact = images.reshape(3, 4, 2, 4, 2).mean((2, 4))
    # Pillow rounds to whole bytes, in two passes
    assert np.abs(found - exact).max() <= 1.0


def test_images_of_different_sizes_fit_after_resizing(tmp_path):
    """The hint of the refusal must be a way out."""
    folder = tmp_path / "set" / "a"
    folder.mkdir(parents=True)
    for size in (4, 6, 11):
        Image.new("L", (size, size + 1), 77).save(folder / f"{size}.png")
    with pytest.raises(DataError) as refusal:
        load_private(str(tmp_path / "set"))
    assert "--image-size" in refusal.value.hint
    found = load_private(str(tmp_path / "set"), image_size=5)
    assert found.images.shape == (3, 1, 5, 5)
    assert found.images.unique().tolist() == [77]


def test_a_batch_maps_bytes_onto_minus_one_to_one():
    """Off by one level, white would exceed 1 and the sampler's clamp would cut it."""
    pixels = torch.arange(256, dtype=torch.uint8).reshape(256, 1, 1, 1)
    images, labels = PublicImages(pixels, torch.arange(256), 256).batch(
        torch.tensor([255, 0, 7, 7])
    )
    exact = np.array([255, 0, 7, 7]) / 255 * 2 - 1
    assert images.dtype == torch.float32
    assert np.allclose(images.flatten().numpy(), exact, atol=1e-6)
    assert labels.tolist() == [255, 0, 7, 7]


def test_an_empty_poisson_batch_is_an_empty_batch():
    """Poisson sampling draws nobody now and then; that step still adds its noise."""
    images, labels = load_private("digits").batch(torch.empty(0, dtype=torch.int64))
    assert images.shape == (0, 1, 8, 8)
    assert labels.shape == (0,)


@pytest.mark.parametrize("index", [-1, 3, 10**12])
def test_a_record_that_is_not_there_is_refused_without_saying_how_many_are(index):
    """Torch's own message ends in the number of records; -1 would wrap around."""
    private = PrivateImages(
        torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), 1
    )
    with pytest.raises(ParameterError) as refusal:
        private.batch(torch.tensor([index]))
    assert "3" not in str(refusal.value)


def test_a_private_set_shows_nothing_of_itself():
    """One log line of a count or a pixel is a release nobody accounted for."""
    private = load_private("digits")
    for text in (repr(private), str(private), f"{private}", f"{[private]}"):
        assert text.strip("[]") == "PrivateImages(hidden)"
    assert "1437" in repr(load_public("digits"))


def test_private_and_public_are_two_types_and_there_is_no_third():
    """A set that is neither could be passed where one of them is asked for."""
    private, public = load_private("digits"), load_public("digits")
    assert private.is_private
    assert not public.is_private
    assert not isinstance(private, PublicImages)
    assert not isinstance(public, PrivateImages)
    with pytest.raises(TypeError, match="abstract"):
        ImageSet(public.images, public.labels, 10)


@pytest.mark.parametrize(
    ("images", "labels", "classes"),
    [
        (torch.zeros(2, 1, 3, 3), torch.zeros(2, dtype=torch.int64), 1),
        (torch.zeros(2, 2, 3, 3, dtype=torch.uint8), torch.zeros(2).long(), 1),
        (torch.zeros(2, 3, 3, dtype=torch.uint8), torch.zeros(2).long(), 1),
        (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.zeros(2), 1),
        (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.zeros(3).long(), 1),
        (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.tensor([0, 2]), 2),
        (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.tensor([0, -1]), 2),
    ],
)
def test_a_set_is_refused_unless_it_is_bytes_with_one_label_each(
    images, labels, classes
):
    """Every consumer relies on these shapes; a wrong one broadcasts in silence."""
    with pytest.raises(DataError):
        PrivateImages(images, labels, classes)


def test_the_digest_is_the_sha_256_of_header_pixels_and_labels(tmp_path):
    """Written out by hand, so that another program can recompute it."""
    found = load_public(str(write_npz(tmp_path / "set.npz", COLOUR, LABELS)))
    header = json.dumps(
        {"classes": 10, "form": "images/1", "shape": [7, 3, 5, 4]},
        separators=(",", ":"),
    ).encode()
    body = stack(COLOUR).tobytes() + LABELS.astype("<i8").tobytes()
    by_hand = hashlib.sha256(len(header).to_bytes(8, "big") + header + body)
    assert data_digest(found) == by_hand.hexdigest()


def test_the_digest_changes_with_order_labels_shape_and_classes():
    """A resumed run must notice any other data set, also one merely shuffled."""
    base = load_public("digits")
    flipped = base.images.flip(0)
    others = [
        PublicImages(flipped, base.labels, 10),
        PublicImages(flipped, base.labels.flip(0), 10),
        PublicImages(base.images, base.labels.flip(0), 10),
        PublicImages(base.images.reshape(-1, 1, 4, 16), base.labels, 10),
        PublicImages(base.images, base.labels, 11),
    ]
    digests = {data_digest(each) for each in (base, *others)}
    assert len(digests) == 6
    assert data_digest(load_private("digits")) == data_digest(base)
