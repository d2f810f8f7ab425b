# SPDX-License-Identifier: Apache-2.0
"""Run folders are read with what they say of themselves, or refused in a sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from synthetic_runs import write_detection

from observer.analysis.failures import Failure, keep_failure
from observer.analysis.run_facts import RUN_FILE, RunFacts
from observer.analysis.runs import default_roots, read_runs
from observer.analysis.tables import FORMAT
from observer.errors import UsageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for design in ("none", "sleeping"):
        write_detection(tmp_path / "runs", 1, design)
    return tmp_path / "runs"


def test_each_row_knows_its_run(root: Path) -> None:
    """Its design, workload, and how many VMs there were."""
    runs = read_runs([root])
    cases = runs.of("cases", "detection")

    assert runs.runs_of("detection") == {"none": 1, "sleeping": 1}
    assert set(cases["design"]) == {"none", "sleeping"}
    assert set(cases["run_workload"]) == {"latency"}
    assert set(cases["host_vms"]) == {3}
    assert cases["run_id"].nunique() == 2
    assert runs.frames["scale"].empty
    assert runs.notes == ()


def test_a_run_that_did_not_end_is_left_out_and_told(root: Path) -> None:
    """It may lack anything, and is not looked into."""
    whole = root / "detection/01-none"
    whole.rename(whole.with_name("01-none.part"))
    runs = read_runs([root])

    assert runs.runs_of("detection") == {"sleeping": 1}
    assert len(runs.notes) == 1
    assert "01-none.part was left out" in runs.notes[0]


def test_a_run_that_was_copied_counts_once(root: Path) -> None:
    """As one that was measured and then committed."""
    shutil.copytree(root, root.parent / "kept")
    runs = read_runs([root, root.parent / "kept"])

    assert runs.runs_of("detection") == {"none": 1, "sleeping": 1}
    assert len(runs.notes) == 2
    assert "lies elsewhere too" in runs.notes[0]


def test_the_same_folder_named_twice_is_one(root: Path) -> None:
    """Also beneath itself."""
    runs = read_runs([root, root / "detection"])

    assert len(runs.facts) == 2
    assert runs.notes == ()


def rewrite(path: Path, **changes: object) -> None:
    facts = msgspec.json.decode(path.read_bytes(), type=RunFacts)
    path.write_bytes(msgspec.json.encode({**msgspec.structs.asdict(facts), **changes}))


def test_a_run_of_another_version_is_told(root: Path) -> None:
    """Before anything else of it is looked at: it may have other fields."""
    path = root / "detection/01-none" / RUN_FILE
    rewrite(path, format=FORMAT + 1, host=None)

    with pytest.raises(UsageError) as told:
        read_runs([root])
    assert told.value.message == (
        f"{path.parent} was written by another version (format {FORMAT + 1}, this one "
        f"reads {FORMAT}): run it again or use that version."
    )


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"format": %d}' % FORMAT])
def test_what_is_no_run_is_told(root: Path, text: bytes) -> None:
    """With the file's name."""
    (root / "detection/01-none" / RUN_FILE).write_bytes(text)

    with pytest.raises(UsageError, match=r"01-none/run.json is no run.json"):
        read_runs([root])


def test_a_run_without_a_table_that_it_needs_is_told(root: Path) -> None:
    """It would be missed in one section of the results, and nowhere told."""
    (root / "detection/01-none/requests.parquet").unlink()

    with pytest.raises(UsageError, match=r"requests.parquet is missing"):
        read_runs([root])


def test_a_run_of_an_experiment_that_there_is_not_is_told(root: Path) -> None:
    """None of the results would be of it."""
    rewrite(root / "detection/01-none" / RUN_FILE, experiment="divination")

    with pytest.raises(UsageError, match="an experiment divination that there is not"):
        read_runs([root])


def test_a_run_that_failed_is_told(root: Path) -> None:
    """It left no folder; who reads the results must know of it."""
    failure = Failure(
        experiment="detection",
        run=2,
        design="none",
        ended="2026-11-28T00:00:00+00:00",
        commit="0123456789ab",
        said="The host fell.",
    )
    keep_failure(root, failure)
    keep_failure(root, failure)

    assert read_runs([root]).notes == (failure.sentence,)
    (root / "detection/failed.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match="is no file of failed runs"):
        read_runs([root])


def test_no_runs_at_all_is_told_with_what_makes_some(tmp_path: Path) -> None:
    """Also where the folder is not there."""
    with pytest.raises(UsageError, match=r"no run in .*nowhere: .* makes some"):
        read_runs([tmp_path / "nowhere"])


def test_where_runs_lie_may_be_told_from_outside() -> None:
    """By OBSERVER_RUNS, as the notebooks are told."""
    assert default_roots(Path("/c"), {}) == [
        Path("/c/experiments/results"),
        Path("/c/build/experiment"),
    ]
    assert default_roots(env={"OBSERVER_RUNS": "/a:/b"}) == [Path("/a"), Path("/b")]
