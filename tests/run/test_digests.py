"""A file that was read is read again if it may have changed since."""

import os

import pytest

from cac_hpc.run import digests


@pytest.fixture
def read_before(tmp_path):
    """A file, and what has read it."""
    (path := tmp_path / "file").write_bytes(b"as it was")
    remembered = digests.Remembered()
    assert remembered.of_file(path) == digests.of_file(path)
    return path, remembered


def test_a_file_that_is_renamed_is_not_read_again(read_before):
    path, remembered = read_before
    known, status = digests.of_file(path), path.stat()
    path.write_bytes(b"as it is!")  # which nobody sees who only looks at its size and time
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    renamed = path.rename(path.with_name("renamed"))
    assert remembered.of_file(renamed) == known != digests.of_file(renamed)


@pytest.mark.parametrize("content", [b"as it is!", b"longer than it was"])
def test_a_file_that_was_written_again_is_read_again(read_before, content):
    path, remembered = read_before
    os.utime(path, ns=(0, 0))
    assert remembered.of_file(path) == digests.of_file(path)
    path.write_bytes(content)
    assert remembered.of_file(path) == digests.of_file(path)


def test_another_file_of_the_same_name_is_read(read_before):
    path, remembered = read_before
    status = path.stat()
    (other := path.with_name("other")).write_bytes(b"as it is!")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    assert remembered.of_file(path) == digests.of_file(path)
