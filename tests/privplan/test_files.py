import pytest

from privplan import files
from privplan.errors import DocumentError


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path, monkeypatch):
    """Half a plan would be worse than none."""
    path = tmp_path / "plan.json"
    files.write_text(path, "old", what="plan")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(DocumentError, match="No space left"):
        files.write_text(path, "new", what="plan")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_a_folder_under_a_file_cannot_be_made_or_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DocumentError, match="cannot be written"):
        files.write_text(tmp_path / "file" / "plan.json", "x", what="plan")
    with pytest.raises(DocumentError, match="cannot be made"):
        files.make_folder(tmp_path / "file" / "run")
