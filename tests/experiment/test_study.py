# SPDX-License-Identifier: Apache-2.0
"""The study goes on where it stopped, and one that fails does not lose the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.testing import CliRunner
from synthetic_runs import started

from observer.analysis.failures import read_failures
from observer.cli import main
from observer.cli import study as verbs
from observer.errors import ProgramError
from observer.experiment.plan import Sitting
from observer.experiment.play import folder_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

DESIGNS = ("none", "polling-1s", "sleeping")


class Host:
    """One that plays runs, or does not; which were asked of it."""

    def __init__(self, root: Path, fails: Sequence[str] = ()) -> None:
        self._root, self._fails = root, fails
        self.played: list[str] = []

    def play(self, words: Sequence[str], *_: object) -> int:
        experiment, design, run = words[2], words[3], int(words[5])
        self.played.append(f"{design} {run}")
        if design in self._fails:
            raise ProgramError("The host fell.")
        started(self._root, experiment, run, design, 2)
        return 0


def run(host: Host, root: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> str:
    monkeypatch.setattr("observer.testbed.nested.checkout", lambda: root)
    return run_below(host, root, monkeypatch, *more)


def run_below(
    host: Host, root: Path, monkeypatch: pytest.MonkeyPatch, *more: str
) -> str:
    monkeypatch.setattr("observer.demo.place.is_kvm_host", lambda _: False)
    monkeypatch.setattr("observer.demo.place.run_in_testbed", host.play)
    monkeypatch.setattr("observer.experiment.play.prepare", lambda *_: None)
    designs = [word for name in DESIGNS for word in ("--design", name)]
    argv = ["experiment", "run", "detection", "--out", str(root), *designs, *more]
    result = CliRunner().invoke(main, argv)
    return f"{result.exit_code} {result.stderr}"


def test_what_is_there_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs, then three: only the third of each is played."""
    first, second = Host(tmp_path), Host(tmp_path)
    run(first, tmp_path, monkeypatch, "--runs", "2")
    said = run(second, tmp_path, monkeypatch, "--runs", "3")

    assert sorted(first.played) == sorted(f"{d} {k}" for d in DESIGNS for k in (0, 1))
    assert sorted(second.played) == [f"{d} 2" for d in DESIGNS]
    assert said.startswith("0 ")
    assert "9 of 9 runs" in said


def test_one_that_fails_is_left_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are played; the next time it is tried again, alone."""
    falls, stands = Host(tmp_path, ("polling-1s",)), Host(tmp_path)
    said = run(falls, tmp_path, monkeypatch)
    run(stands, tmp_path, monkeypatch)

    assert sorted(falls.played) == [f"{d} 0" for d in DESIGNS]
    assert said.startswith("1 ")
    assert "The host fell." in said
    assert "polling-1s, run 0 failed" in said
    assert stands.played == ["polling-1s 0"]


def test_that_one_failed_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it was run again and stood: it may be its design that fails."""
    run(Host(tmp_path, ("polling-1s",)), tmp_path, monkeypatch)
    run(Host(tmp_path), tmp_path, monkeypatch)
    (failure,) = read_failures([tmp_path, tmp_path])

    assert (failure.experiment, failure.design) == ("detection", "polling-1s")
    assert failure.said == "The host fell."
    assert "an attempt at run 0 of polling-1s failed" in failure.sentence


def test_a_full_disk_does_not_end_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be kept of a failure is said, and the others are played."""
    falls = Host(tmp_path, DESIGNS)
    (tmp_path / "detection").mkdir()
    (tmp_path / "detection/failed.jsonl").symlink_to("/dev/full")
    said = run(falls, tmp_path, monkeypatch)

    assert len(falls.played) == len(DESIGNS)
    assert "No space left on device" in said


def test_a_run_of_another_version_is_said_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is run that could not be compared with it."""
    host = Host(tmp_path)
    folder = folder_of(tmp_path, Sitting("detection", 0, "none", 1))
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"format": 99}')
    said = run(host, tmp_path, monkeypatch)

    assert said.startswith("2 ")
    assert str(folder) in said
    assert not host.played
    assert (folder / "run.json").exists()


def test_a_folder_that_a_nested_host_does_not_see_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it writes elsewhere is gone with it."""
    host = Host(tmp_path)
    said = run_below(host, tmp_path, monkeypatch)

    assert said.startswith("2 ")
    assert "cannot write to" in said
    assert not host.played


def test_what_is_not_offered_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name, with those that there are."""
    said = run(Host(tmp_path), tmp_path, monkeypatch, "--design", "oracle")

    assert said.startswith("2 ")
    assert "oracle" in said
    assert "sleeping" in said


def test_a_study_has_a_name() -> None:
    """One that there is not is refused with those that there are."""
    result = CliRunner().invoke(main, ["experiment", "run", "everything"])

    assert result.exit_code == 2
    assert all(name in result.stderr for name in (*verbs.STUDIES, verbs.ALL))
