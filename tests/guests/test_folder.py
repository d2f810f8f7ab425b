# SPDX-License-Identifier: Apache-2.0
import pytest

from observer.errors import UsageError
from observer.guests.folder import is_kept, runtime_folder


def test_a_folder_is_kept_while_its_block_runs(tmp_path):
    """Other processes can tell a living guest's folder from a left one."""
    folder = tmp_path / "a"

    with runtime_folder(folder):
        assert is_kept(folder)
        assert folder.stat().st_mode & 0o777 == 0o700

    assert not folder.exists()
    assert not is_kept(folder)


def test_a_second_keeper_is_refused(tmp_path):
    """Two guests never share a name, and the first one's files stay."""
    with runtime_folder(tmp_path / "a"):
        (tmp_path / "a/file").touch()

        with (
            pytest.raises(UsageError, match="up already"),
            runtime_folder(tmp_path / "a"),
        ):
            pass

        assert (tmp_path / "a/file").exists()


def test_what_a_killed_keeper_left_is_cleared_away(tmp_path):
    """A folder without its lock is nobody's."""
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "lock").touch()
    (folder / "guest.json").touch()
    assert not is_kept(folder)

    with runtime_folder(folder):
        assert not (folder / "guest.json").exists()
