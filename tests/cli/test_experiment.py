# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from click.testing import CliRunner, Result

from observer.cli.experiment import experiment
from observer.cli.study import STUDIES
from observer.demo.report import host_facts
from observer.errors import UsageError
from observer.experiment.faults import FAULTS
from observer.experiment.rows import Head, RowFile

if TYPE_CHECKING:
    from pathlib import Path


def run(*words: str) -> Result:
    return CliRunner().invoke(experiment, words, catch_exceptions=True)


def test_all_that_can_be_run_is_listed() -> None:
    """Each experiment with its designs, as data too."""
    offers = msgspec.json.decode(run("list", "-o", "json").stdout)

    assert {o["experiment"] for o in offers} == {*STUDIES, *FAULTS}
    assert {"tfd-xen-like", "polling-10s"} <= {o["design"] for o in offers}
    assert "tfd-xen-like" in run("list").stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("no-such",), "no experiment no-such"),
        (("net-failure", "--design", "no-such"), "no no-such"),
        (("net-failure", "--fault", "disk-hang"), "no disk-hang"),
        (("net-failure", "--design", "linux-vm", "--fault", "nic-hang"), "None of"),
        (("net-failure", "--out", "/"), "is a folder"),
        (("detection", "--fault", "vmm-crash"), "takes no --fault: leave it out"),
        (("all", "--period-ms", "5", "-o", "json"), "takes no --period-ms, -o"),
        (("net-failure", "--quick"), "net-failure takes no --quick"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_starts(
    words: tuple[str, ...], sentence: str
) -> None:
    """By a sentence that tells what there is."""
    error = run("run", *words).exception

    assert isinstance(error, UsageError)
    assert sentence in error.message


def test_a_file_without_runs_is_reported_with_its_host(tmp_path: Path) -> None:
    """What was interrupted at once."""
    path = tmp_path / "rows.jsonl"
    RowFile(path, Head("net-failure", host_facts(), 1, 10.0, {}, 0.0))

    done = run("report", str(path))

    assert done.exit_code == 0, done.exception
    assert host_facts().kernel in done.stdout
