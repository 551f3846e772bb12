"""Weights in several files: read as one, and nothing outside their folder is opened."""

import json
import subprocess

import pytest
import torch
from safetensors.torch import save_file

from diffusion import weight_files
from privplan import canonical
from privplan.errors import DataError

WHOLE = {f"layer{n}.weight": torch.full((2, n + 1), float(n)) for n in range(3)}
NAME = "net.safetensors"
PARTS = ("net-00001-of-00002.safetensors", "net-00002-of-00002.safetensors")


def listed():
    return {name: PARTS[n > 0] for n, name in enumerate(WHOLE)}


def sharded(folder, weight_map=None):
    """Write the same weights in two files with an index; return how they are called."""
    folder.mkdir(parents=True)
    for part in PARTS:
        own = {n: t for n, t in WHOLE.items() if listed()[n] == part}
        save_file(own, folder / part)
    index = {"metadata": {"total_size": 48}, "weight_map": weight_map or listed()}
    (folder / f"{NAME}.index.json").write_text(json.dumps(index))
    return folder / NAME


def same(found):
    return found.keys() == WHOLE.keys() and all(
        torch.equal(found[name], tensor) for name, tensor in WHOLE.items()
    )


def test_weights_in_two_files_are_those_in_one(tmp_path):
    save_file(WHOLE, tmp_path / NAME)
    one, several = tmp_path / NAME, sharded(tmp_path / "several")
    assert same(weight_files.read_tensors(one))
    assert same(weight_files.read_tensors(several))
    assert weight_files.digest(one) == canonical.file_digest(one)


def test_the_digest_of_several_files_is_what_a_shell_says(tmp_path):
    """A digest that only this program can form cannot be compared by anyone else."""
    path = sharded(tmp_path / "several")
    command = f"LC_ALL=C sha256sum net-* {NAME}.index.json | sha256sum"
    said = subprocess.run(
        ["sh", "-c", command], cwd=path.parent, check=True, capture_output=True
    )
    assert weight_files.digest(path) == said.stdout.decode().split()[0]
    before = weight_files.digest(path)
    save_file({"layer0.weight": torch.zeros(2, 1) + 9}, path.parent / PARTS[0])
    assert weight_files.digest(path) != before


@pytest.mark.parametrize(
    "name",
    ["../outside.safetensors", "/etc/outside.safetensors", "a/b.safetensors",
     "..\\outside.safetensors", "C:outside.safetensors", "net.bin", "", 7, None],
)  # fmt: skip
def test_an_index_cannot_lead_out_of_its_folder(tmp_path, name):
    """Else a downloaded index could have any tensor file of this machine read."""
    save_file(WHOLE, tmp_path / "outside.safetensors")
    path = sharded(tmp_path / "several", dict.fromkeys(WHOLE, name))
    for ask in (weight_files.read_tensors, weight_files.digest):
        with pytest.raises(DataError, match="beside itself"):
            ask(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": {}}', "\xff"])
def test_an_index_that_is_none_is_refused(tmp_path, text):
    path = sharded(tmp_path / "several")
    (path.parent / f"{NAME}.index.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match="index"):
        weight_files.read_tensors(path)


def test_files_that_do_not_hold_what_the_index_says_are_refused(tmp_path):
    """A tensor taken from whichever file has it may be one of another network."""
    swapped = {name: PARTS[part == PARTS[0]] for name, part in listed().items()}
    with pytest.raises(DataError, match="does not hold"):
        weight_files.read_tensors(sharded(tmp_path / "swapped", swapped))
    missing = sharded(tmp_path / "missing")
    (missing.parent / PARTS[1]).unlink()
    for ask in (weight_files.read_tensors, weight_files.digest):
        with pytest.raises(DataError, match="missing"):
            ask(missing)
    both = sharded(tmp_path / "both")
    save_file(WHOLE, both)
    with pytest.raises(DataError, match="holds both"):
        weight_files.read_tensors(both)


def test_a_pickle_is_refused_by_name_and_not_opened(tmp_path):
    (tmp_path / "net.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(DataError, match=r"net\.bin is a pickle") as no:
        weight_files.read_tensors(tmp_path / NAME)
    assert "safe_serialization=True" in no.value.hint
