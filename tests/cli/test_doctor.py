# SPDX-License-Identifier: Apache-2.0
import msgspec
import pytest

from observer.cli.doctor import show
from observer.doctor.finding import Finding, missing, ok
from observer.doctor.report import Report, summarise


@pytest.fixture
def report():
    """One finding that is well and one that is not."""
    return summarise(
        (ok("kernel", "Linux 6.1"), missing("libbpf", "none", "Get it.", "libbpf1"))
    )


def test_json_is_the_report(report, capsys):
    """What is printed as JSON decodes to the very same report."""
    show(report, "json")

    assert msgspec.json.decode(capsys.readouterr().out, type=Report) == report


def test_jsonl_is_one_finding_per_line(report, capsys):
    """Every line stands for itself."""
    show(report, "jsonl")

    lines = capsys.readouterr().out.splitlines()
    assert tuple(msgspec.json.decode(line, type=Finding) for line in lines) == (
        report.findings
    )


def test_the_table_ends_with_the_line_to_run(report, capsys):
    """Whoever reads the table ends at the command that helps."""
    show(report, "table")

    out = capsys.readouterr().out
    assert "Get it." in out
    assert out.endswith("sudo apt-get install -y libbpf1\n")
