"""Files that are written whole or not at all."""

import os

import pytest

from zoo import files


def test_what_was_there_stays_until_the_new_is_on_the_disk(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    files.write_bytes(path, b"old")

    def fsync(file):
        raise OSError("Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output"):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["run.json"]
