# SPDX-License-Identifier: Apache-2.0
from observer.doctor.finding import missing, ok, warn
from observer.doctor.report import ABILITIES, examine, summarise


def test_a_good_host_can_do_everything(recorded):
    """Every check is content and every ability works where nothing is missing."""
    report = examine(recorded.host())

    assert {finding.state for finding in report.findings} == {"ok"}
    assert all(ability.works for ability in report.abilities)
    assert report.runs
    assert report.install == ""


def test_every_need_is_the_name_of_a_finding(recorded):
    """An ability that waited for a finding nobody makes would always work."""
    names = {finding.name for finding in examine(recorded.host()).findings}

    assert {need for needs in ABILITIES.values() for need in needs} <= names


def test_every_problem_names_the_next_step(recorded):
    """A finding that is not ok says what to do about it."""
    for name in list(recorded.root.rglob("*")):
        if name.is_file():
            name.unlink()
    report = examine(
        recorded.host(which=lambda _program: None, libbpf_version=_no_library)
    )

    assert not report.runs
    assert all(f.next_step for f in report.findings if f.state != "ok")


def test_what_is_in_the_way_is_named():
    """An ability that does not work says which findings are to blame."""
    report = summarise((missing("libbpf", "none", "Get it."), ok("bcc", "there")))

    assert not report.runs
    assert report.abilities[0].because == "libbpf"


def test_a_warning_does_not_stop_run():
    """A warning about one kind of back end leaves the daemon able to run."""
    assert summarise((warn("vhost-net", "not loaded", "Load it."),)).runs


def test_a_missing_program_stops_its_own_verb_only():
    """Without perf there is no bench, but everything else works."""
    report = summarise((warn("perf", "not installed", "Get it.", "linux-perf"),))

    assert [a.name for a in report.abilities if not a.works] == ["observer bench"]


def test_one_line_installs_all_that_is_missing():
    """The packages of all findings are in one apt line, each once, in order."""
    report = summarise(
        (
            missing("bcc", "none", "Get it.", "python3-bpfcc"),
            missing("bcc-headers", "none", "Get it.", "python3-bpfcc"),
            missing("libbpf", "none", "Get it.", "libbpf1"),
        )
    )

    assert report.install == "sudo apt-get install -y libbpf1 python3-bpfcc"


def _no_library():
    raise OSError
