"""What `mere_ds.files` writes, and what it leaves as it is."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from mere_ds.errors import UserError
from mere_ds.files import check_apart, expanded, write_whole


def test_a_pipe_or_a_device_is_written_to_and_stays_one(tmp_path):
    os.mkfifo(pipe := tmp_path / "pipe")
    (link := tmp_path / "link").symlink_to(pipe)
    for path in (pipe, link):
        with ThreadPoolExecutor(1) as other:
            read = other.submit(pipe.read_bytes)
            write_whole(path, b"content")
            assert read.result(timeout=30) == b"content"
        assert stat.S_ISFIFO(pipe.lstat().st_mode) and link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


def test_a_link_stays_one(tmp_path):
    (file := tmp_path / "there" / "file").parent.mkdir()
    (link := tmp_path / "link").symlink_to(file)
    for content in (b"first", b"second"):
        write_whole(link, content)
        assert link.is_symlink() and file.read_bytes() == content


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError) as refused:
        write_whole(tmp_path, b"content")
    assert refused.value.filename == str(tmp_path) and not list(tmp_path.iterdir())


def test_a_name_that_begins_with_a_tilde_may_be_no_users(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    check_apart("OUT", "out", SOURCE="~draft")
    with pytest.raises(UserError, match="are the same folder"):
        check_apart("OUT", "~draft", SOURCE="~draft")
    assert (str(expanded("~draft")), expanded("~/a")) == ("~draft", tmp_path / "home" / "a")
