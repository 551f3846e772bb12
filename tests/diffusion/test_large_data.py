"""Large data: read through an index, or refused in words that tell nothing."""

import os
import stat
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion.data import data_digest, describe, load_private, load_public
from diffusion.readers import many_files
from diffusion.readers.index_build import make as make_index
from privplan.budget import PrivacyUnit
from privplan.errors import DataError, ParameterError
from tests.diffusion import large_sets as sets

PATIENT = PrivacyUnit(name="patient", max_records=2)
SECRET = "Jane"  # noqa: S105 - of a person, not of a key


@pytest.mark.parametrize("form", sets.FORMS)
def test_every_form_gives_the_same_records_and_the_same_commitment(tmp_path, form):
    """A record that is skipped, doubled or mixed up makes n and the claim wrong."""
    source = str(sets.FORMS[form](tmp_path / "set"))
    whole = load_private(source, unit=PrivacyUnit(name="patient", max_records=3))
    assert whole.labels.tolist() == sets.LABELS
    assert np.array_equal(whole.images[:, 0].numpy(), sets.PIXELS)
    assert (whole.contributors, whole.shape.records) == (4, 4)
    chosen = torch.tensor([7, 0, 7])
    pixels, labels = whole.batch(chosen)
    expected = torch.from_numpy(sets.PIXELS[chosen].astype(np.float32)) / 127.5 - 1
    assert torch.equal(pixels[:, 0], expected)
    assert labels.tolist() == [sets.LABELS[i] for i in chosen]

    bounded = load_private(source, unit=PATIENT)
    assert describe(source, unit=PATIENT) == bounded.shape
    assert len(bounded.labels) == 8
    by_hand = sets.files(tmp_path / "by_hand")
    expected = load_private(str(by_hand), unit=PATIENT)
    # the bound belongs to the plan: the same data keep one commitment under any
    assert data_digest(bounded) == data_digest(whole) == data_digest(expected)


def test_an_empty_batch_reads_no_file(tmp_path):
    found = load_private(str(sets.tar(tmp_path / "set")))
    images, labels = found.batch(torch.empty(0, dtype=torch.int64))
    assert images.shape == (0, 1, 6, 5)
    assert labels.shape == (0,)


def test_a_stored_set_is_resized_like_one_in_memory(tmp_path):
    folder = sets.files(tmp_path / "set")
    inside = load_private(str(folder), image_size=4)
    stored = load_private(str(folder), image_size=4, unit=PATIENT)
    kept = load_private(str(folder), image_size=4, unit=PrivacyUnit(
        name="patient", max_records=9
    ))  # fmt: skip
    assert torch.equal(kept.images, inside.images)
    assert stored.shape.height == 4


def test_a_large_folder_is_the_same_set_as_a_small_one(tmp_path, monkeypatch):
    """Where reading changes over must not be where the data change."""
    folder = tmp_path / "set"
    for number, (image, label) in enumerate(zip(sets.PIXELS, sets.LABELS, strict=True)):
        (folder / f"class{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"class{label}" / f"{number:02}.png")
    small = load_private(str(folder))
    monkeypatch.setattr(many_files, "LARGE", 11)
    large = load_private(str(folder))
    assert isinstance(small.pixels, torch.Tensor)
    assert not isinstance(large.pixels, torch.Tensor)
    assert torch.equal(large.images, small.images)
    assert (large.classes, large.labels.tolist()) == (3, small.labels.tolist())


def test_an_index_is_for_its_owner_and_holds_no_pixel(tmp_path):
    """It says who belongs together: on a shared machine that is a release."""
    source = sets.tar(tmp_path / "set")
    for place in (None, tmp_path / "own.privplan-index"):
        made = make_index(str(source), "train", "patient", place)
        assert stat.S_IMODE(made.stat().st_mode) == 0o600
        content = made.read_bytes()
        assert not any(pixels.tobytes()[:8] in content for pixels in sets.PIXELS)
        assert not any(name.encode() in content for name in set(sets.PATIENTS))
    by_index = load_private(str(made), unit=PATIENT)
    assert data_digest(by_index) == data_digest(load_private(str(source), unit=PATIENT))


def test_a_stored_set_shows_nothing_of_itself(tmp_path):
    found = load_private(str(sets.tar(tmp_path / "set")), unit=PATIENT)
    shown = {repr(found), repr(found.pixels), repr(found.pixels.index)}
    shown |= {repr(found.units)}
    assert all(text.endswith("(hidden)") for text in shown), shown


def swapped(folder):
    """Another image in place of one, of the same size and time."""
    file = folder / "3.png"
    before = file.stat()
    image = np.full_like(sets.PIXELS[0], 9)
    Image.fromarray(image).save(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_record_that_was_exchanged_later_is_refused_when_it_is_read(tmp_path):
    """The ledger committed to the old one."""
    folder = sets.files(tmp_path / "set")
    found = load_private(str(folder), unit=PrivacyUnit(name="patient", max_records=3))
    swapped(folder)
    with pytest.raises(DataError, match="not as it was when its index was made"):
        found.batch(torch.tensor([3]))


@pytest.mark.parametrize("form", ["tar", "parquet", "files"])
def test_an_index_of_data_that_changed_is_refused(tmp_path, form):
    folder = sets.FORMS[form](tmp_path / "set")
    source = str(folder)
    load_private(source, unit=PATIENT)
    victim = sorted(p for p in folder.iterdir() if p.suffix != ".png")[0]
    os.utime(victim, ns=(1, 1))
    with pytest.raises(DataError, match="not as it was when its index was made"):
        load_private(source, unit=PATIENT)
    make_index(source, "train", "patient", None)
    assert load_private(source, unit=PATIENT).contributors == 4


def test_a_damaged_index_is_refused(tmp_path):
    source = str(sets.tar(tmp_path / "set"))
    made = make_index(source, "train", None, tmp_path / "own.privplan-index")
    whole = made.read_bytes()
    for broken in (whole[:-1], whole[:70], b"", whole[:-40] + b"x" + whole[-39:]):
        made.write_bytes(broken)
        with pytest.raises(DataError, match="is not a whole index"):
            load_private(str(made))


def sample(number, **changes):
    """The files of one record, some of them changed, or taken away by None."""
    found = sets.tar_files(number) | changes
    return f"{SECRET}{number}", {k: v for k, v in found.items() if v is not None}


def bad_tar(**changes):
    def write(folder):
        samples = [sample(0), sample(1, **changes), sample(2)]
        sets.write_tar(folder / "a.tar", samples)
        return folder

    return write


def cut_tar(size):
    def write(folder):
        path = sets.write_tar(folder / "a.tar", [sample(n) for n in range(6)])
        path.write_bytes(path.read_bytes()[:size])
        return folder

    return write


def packed(folder):
    folder.mkdir()
    with tarfile.open(folder / "a.tar", "w:gz") as archive:
        archive.add(__file__, "x.png")
    return folder


def linked(folder):
    path = sets.write_tar(folder / "a.tar", [sample(0)])
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("1.png")
        link.type, link.linkname = tarfile.SYMTYPE, f"/etc/{SECRET}"
        archive.addfile(link)
    return folder


def beside(folder):
    sets.tar(folder)
    (folder / f"{SECRET}.png").write_bytes(sets.CONTENTS[0])
    return folder


def bad_parquet(**changes):
    def write(folder):
        from pyarrow import parquet

        folder.mkdir()
        content = sets.table(**changes)
        parquet.write_table(content, folder / "a.parquet")
        return folder

    return write


def cut_parquet(folder):
    sets.parquet(folder)
    file = folder / "part.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    return folder


def bad_file(folder):
    sets.files(folder)
    (folder / "5.png").write_bytes(SECRET.encode())
    return folder


def lost_file(folder):
    sets.files(folder)
    (folder / "5.png").unlink()
    return folder


OTHER_SIZE = sets.png(np.zeros((9, 9), dtype=np.uint8))
REFUSED = {
    "a tar cut inside a file": (cut_tar(3000), "damaged, cut short"),
    "a tar cut between two files": (cut_tar(1536), "damaged, cut short"),
    "a tar without its end": (cut_tar(6 * 3 * 1024), "damaged, cut short"),
    "an empty tar": (cut_tar(0), "damaged, cut short"),
    "a packed tar": (packed, "damaged, cut short"),
    "a link in a tar": (linked, "not a plain file"),
    "an image beside the shards": (beside, "something beside its shards"),
    "no image": (bad_tar(png=None), "without an image"),
    "no label": (bad_tar(cls=None), "without a label"),
    "a name as label": (bad_tar(cls=SECRET.encode()), "not a whole number"),
    "a label out of range": (bad_tar(cls=b"11"), "outside 0..9"),
    "no patient": (bad_tar(json=b"{}"), "has no 'patient'"),
    "a broken .json": (bad_tar(json=b"{"), "damaged, cut short"),
    "a list as .json": (bad_tar(json=b"[1]"), "not one object"),
    "a corrupt image": (bad_tar(png=SECRET.encode()), "damaged, cut short"),
    "mixed sizes": (bad_tar(png=OTHER_SIZE), "not all of one size"),
    "a cut Parquet": (cut_parquet, "damaged, cut short"),
    "no image column": (bad_parquet(image=None), "no column 'image'"),
    "no image in a row": (bad_parquet(image=[None] * 12), "has no image"),
    "no patient in a row": (bad_parquet(patient=[None] * 12), "has no 'patient'"),
    "a fraction as label": (bad_parquet(label=[0.5] * 12), "not a whole number"),
    "a corrupt file": (bad_file, "damaged, cut short"),
    "a lost file": (lost_file, "does not exist"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_damaged_data_are_refused_in_words_that_tell_nothing(tmp_path, case):
    """A file name, a label or a count in a message would be a release."""
    write, expected = REFUSED[case]
    folder = write(tmp_path / "set")
    with pytest.raises(DataError) as refusal:
        load_private(str(folder), unit=PrivacyUnit(name="patient", max_records=9))
    said = f"{refusal.value} {refusal.value.hint}"
    assert expected in said
    assert SECRET not in said
    inside = said.replace(str(folder), "").replace("like 0001.png", "")
    assert not [x for x in ("a.tar", "a.parquet", "5.png", " 12", "(12") if x in inside]


@pytest.mark.parametrize("form", ["tar", "parquet", "files"])
def test_a_column_that_is_not_there_is_refused(tmp_path, form):
    source = str(sets.FORMS[form](tmp_path / "set"))
    with pytest.raises(DataError, match="'person'"):
        load_private(source, unit=PrivacyUnit(name="person", max_records=2))


def test_data_without_columns_refuse_a_unit():
    with pytest.raises(DataError, match="'digits' has no column 'patient'"):
        load_private("digits", unit=PATIENT)


def test_a_single_shard_has_no_test_split(tmp_path):
    path = sets.write_tar(tmp_path / "a.tar", [sample(0)])
    assert len(load_private(str(path)).labels) == 1
    with pytest.raises(DataError, match="no test split"):
        load_private(str(path), split="test")


def test_folders_of_shards_have_splits_of_their_own(tmp_path):
    sets.tar(tmp_path / "train")
    sets.write_tar(tmp_path / "test" / "a.tar", [sample(5)])
    source = str(tmp_path)
    assert len(load_private(source).labels) == 12
    assert load_private(source, split="test").labels.tolist() == [sets.LABELS[5]]


def test_public_shards_are_read_like_private_ones(tmp_path):
    source = str(sets.tar(tmp_path / "set"))
    public, private = load_public(source), load_private(source)
    assert torch.equal(public.images, private.images)
    assert data_digest(public) == data_digest(private)


def test_a_bound_below_one_is_refused():
    with pytest.raises(ParameterError):
        PrivacyUnit(name="patient", max_records=0)
