"""Captions come from the columns that data have; none of them is shown."""

import json

import numpy as np
import pytest
import torch

from diffusion.data import PrivateImages, data_digest, describe, load_private
from diffusion.readers.captions import FIRST, captioned
from privplan.budget import PrivacyUnit
from privplan.errors import DataError
from tests.diffusion import large_sets as sets

SAID = [f"scan of {('left', 'right')[n % 2]} lung, {n % 4}" for n in range(12)]
SAID[5] = SAID[0]


def in_tar(folder):
    samples = []
    for number, text in enumerate(SAID):
        fields = {"patient": sets.PATIENTS[number], "text": text}
        files = {"png": sets.CONTENTS[number], "json": json.dumps(fields).encode()}
        samples.append((f"{number:04}", files))
    sets.write_tar(folder / "part.tar", samples)
    return folder


def in_tar_as_files(folder):
    samples = [
        (f"{number:04}", {"png": sets.CONTENTS[number], "text": text.encode()})
        for number, text in enumerate(SAID)
    ]
    sets.write_tar(folder / "part.tar", samples)
    return folder


def in_parquet(folder):
    from pyarrow import parquet as writer

    folder.mkdir()
    content = sets.table(text=SAID, label=None)
    writer.write_table(content, folder / "part.parquet", row_group_size=5)
    return folder


def in_arrow(folder):
    from pyarrow import ipc

    folder.mkdir()
    content = sets.table(text=SAID, label=None)
    with ipc.new_file(str(folder / "part.arrow"), content.schema) as writer:
        writer.write_table(content, max_chunksize=5)
    return folder


def in_table(folder):
    folder.mkdir()
    lines = ["file,text,patient"]
    for number, text in enumerate(SAID):
        (folder / f"{number}.png").write_bytes(sets.CONTENTS[number])
        lines.append(f'{number}.png,"{text}",{sets.PATIENTS[number]}')
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


FORMS = {
    "tar": in_tar,
    "tar files": in_tar_as_files,
    "parquet": in_parquet,
    "arrow": in_arrow,
    "table": in_table,
}


@pytest.mark.parametrize("form", FORMS)
def test_captions_come_from_a_column_of_every_form_that_has_columns(tmp_path, form):
    """Two routes: what was written, and what the labels of a set pick."""
    folder = str(FORMS[form](tmp_path / "data"))
    images = load_private(folder, captions="text")
    texts = images.captions.texts
    assert [texts[label - FIRST] for label in images.labels.tolist()] == SAID
    assert len(texts) == len(set(SAID))
    shown, labels = images.batch(torch.tensor([7, 3]))
    pixels = torch.from_numpy(sets.PIXELS[[7, 3]][:, None])
    assert torch.equal(shown, pixels / 127.5 - 1)
    assert torch.equal(labels, images.labels[[7, 3]])
    assert describe(folder, captions="text").classes == images.classes == 1


@pytest.mark.parametrize("form", FORMS)
def test_a_column_that_is_not_there_and_labels_that_are_not_are_refused(tmp_path, form):
    folder = str(FORMS[form](tmp_path / "data"))
    with pytest.raises(DataError, match="no column 'title'"):
        describe(folder, captions="title")
    with pytest.raises(DataError, match=r"without a label|lacks the column"):
        describe(folder)


def test_a_caption_stays_with_its_record_where_a_bound_lets_records_out(tmp_path):
    """Labels are kept by place; a slip by one would teach every caption wrongly."""
    folder = str(in_arrow(tmp_path / "data"))
    unit = PrivacyUnit(name="patient", max_records=1)
    some = load_private(folder, unit=unit, captions="text")
    everyone = load_private(folder, captions="text")
    texts = {
        image.tobytes(): text for image, text in zip(sets.PIXELS, SAID, strict=True)
    }
    found = some.images.numpy()[:, 0]
    assert len(found) == len(set(sets.PATIENTS))
    for image, label in zip(found, some.labels.tolist(), strict=True):
        assert some.captions.texts[label - FIRST] == texts[image.tobytes()]
    assert some.captions.digest == everyone.captions.digest


def test_the_digest_of_indexed_data_covers_their_captions(tmp_path):
    digests = []
    for name, last in (("a", "dark"), ("b", "bright")):
        folder = in_table(tmp_path / name)
        path = folder / "labels.csv"
        path.write_text(path.read_text().replace(SAID[11], last))
        digests.append(data_digest(load_private(str(folder), captions="text")))
    assert digests[0] != digests[1]


def test_a_record_without_a_caption_has_the_empty_one(tmp_path):
    """A refusal would say that there is such a record."""
    from pyarrow import parquet as writer

    (tmp_path / "data").mkdir()
    content = sets.table(text=[None, *SAID[1:]], label=None)
    writer.write_table(content, tmp_path / "data" / "part.parquet")
    images = load_private(str(tmp_path / "data"), captions="text")
    assert images.captions.texts[0] == ""


def test_what_is_wrong_is_said_without_a_caption_or_a_count(tmp_path):
    folder = in_arrow(tmp_path / "data")
    for column, said in (("image", "are not text"), ("title", "no column")):
        with pytest.raises(DataError, match=said) as refusal:
            load_private(str(folder), captions=column)
        words = refusal.value.message + refusal.value.hint
        assert "lung" not in words
        assert str(len(SAID)) not in words.replace(str(tmp_path), "")
    labels, captions = captioned(SAID)
    assert "lung" not in repr(captions)
    pixels = torch.from_numpy(np.ascontiguousarray(sets.PIXELS[:, None]))
    with pytest.raises(DataError, match="do not pick captions"):
        PrivateImages(pixels, labels + 40, 1, None, captions)


def test_no_index_holds_a_caption(tmp_path):
    """An index lies beside the data or in a cache; it says where records are, alone."""
    load_private(str(in_arrow(tmp_path / "data")), captions="text")
    (index,) = [p for p in tmp_path.iterdir() if p.suffix == ".privplan-index"]
    assert b"lung" not in index.read_bytes()


def test_a_set_without_columns_has_no_captions():
    with pytest.raises(DataError, match="no column 'text'"):
        load_private("digits", captions="text")
