"""The access key of root: new at each start, and readable by its user alone."""

import os
from pathlib import Path

import pytest

from cloud.core import root_key


def test_each_key_is_new_and_only_the_user_can_read_it(tmp_path: Path) -> None:
    homes = [tmp_path / name for name in "ab"]
    before = os.umask(0)
    try:
        keys = []
        for home in homes:
            home.mkdir()
            keys.append(root_key.make(home))
    finally:
        os.umask(before)
    assert len({part for key in keys for part in key}) == 4
    assert all(len(key.secret) >= 40 and key.id.isalnum() and len(key.id) == 20 for key in keys)
    assert [root_key.read(home) for home in homes] == keys
    assert [(home / root_key.FILE).stat().st_mode & 0o777 for home in homes] == [0o600, 0o600]


def test_a_file_that_is_there_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / root_key.FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        root_key.make(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"AccessKeyId": "x"}', "null"])
def test_another_file_is_no_key(tmp_path: Path, text: str) -> None:
    (tmp_path / root_key.FILE).write_text(text)
    with pytest.raises(ValueError, match=r"access key|Expecting value"):
        root_key.read(tmp_path)
