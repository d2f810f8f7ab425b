# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
from pathlib import Path

import pytest

from observer.errors import ProgramError, UsageError
from observer.guests.folder import runtime_folder
from observer.guests.guest import (
    Guest,
    find_guest,
    free_subnet,
    guest_names,
    write_record,
)
from observer.guests.images import GuestImage
from observer.guests.launch import Files, GuestSpec


@pytest.fixture
def guest(tmp_path):
    """A guest's record without a guest."""
    with runtime_folder(tmp_path / "a"):
        image = GuestImage("/boot/vmlinuz", "/boot/initrd")
        guest = Guest(GuestSpec("a", subnet=1), Files(tmp_path / "a"), image)
        write_record(guest)
        yield guest


@pytest.fixture
def process(guest):
    """A process whose command line names a file of the guest."""
    program = "print('up', flush=True); input()"
    argv = [sys.executable, "-c", program, str(guest.files.qmp)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe) as process:
        # For a moment after exec /proc shows no command line yet.
        assert process.stdout.readline() == b"up\n"
        yield process


def test_another_process_finds_the_same_guest(guest, tmp_path):
    """The record holds all that is needed."""
    assert find_guest("a", tmp_path) == guest
    assert guest_names(tmp_path) == ["a"]


@pytest.mark.usefixtures("guest")
@pytest.mark.parametrize("name", ["b", "..", "", "a/../a"])
def test_what_is_not_our_guest_is_refused(tmp_path, name):
    """The refusal is one sentence that names the guests there are."""
    with pytest.raises(UsageError, match=r"not a test guest .* running ones: a"):
        find_guest(name, tmp_path)


def test_a_record_without_its_keeper_is_no_guest(tmp_path):
    """After the keeper's death nothing may be sent to the numbers it left."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/guest.json").touch()

    with pytest.raises(UsageError, match="not a test guest"):
        find_guest("a", tmp_path)


def test_a_process_of_the_guest_can_be_held(guest, process):
    """The descriptor is of this very process."""
    with guest.pidfd(process.pid) as held:
        told = Path(f"/proc/self/fdinfo/{held}").read_text()

    assert f"Pid:\t{process.pid}\n" in told


def test_any_other_process_is_refused(guest):
    """Least of all may a test kill its own runner."""
    with (
        pytest.raises(UsageError, match="not part of a test guest"),
        guest.pidfd(os.getpid()),
    ):
        pass


def test_a_process_that_ended_is_refused(guest, process):
    """Its number may soon be another's."""
    process.communicate(b"\n")

    with (
        pytest.raises(UsageError, match="not part of a test guest"),
        guest.pidfd(process.pid),
    ):
        pass


def test_a_number_not_yet_written_is_an_error_of_the_guest(guest):
    """A guest still starting is not mistaken for process 0."""
    with pytest.raises(ProgramError, match="not up"):
        guest.pid  # noqa: B018


@pytest.mark.usefixtures("guest")
def test_each_guest_gets_a_network_of_its_own(tmp_path):
    """The lowest number that no running guest uses."""
    assert free_subnet(tmp_path) == 2
