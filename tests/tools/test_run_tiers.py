# SPDX-License-Identifier: Apache-2.0
import pytest
from run_tiers import (
    KEPT_LINES,
    TIERS,
    Ended,
    Tally,
    closing_line,
    complaint,
    files_in,
    read_tally,
)

from observer.testbed.kernel import KERNELS

JUNIT = """<?xml version="1.0"?><testsuites><testsuite name="pytest"
errors="1" failures="2" skipped="3" tests="10" time="1.5"/></testsuites>"""


def test_a_result_file_is_counted(tmp_path):
    """What pytest wrote is what is counted; passed is the rest."""
    file = tmp_path / "machine.xml"
    file.write_text(JUNIT, encoding="utf-8")

    assert read_tally(file) == Tally(passed=4, failed=2, errors=1, skipped=3)


def test_no_results_are_an_error(tmp_path):
    """A tier that died before it wrote anything did not pass."""
    (tmp_path / "half.xml").write_text(JUNIT[:60], encoding="utf-8")

    assert read_tally(tmp_path / "none.xml") == Tally(errors=1)
    assert read_tally(tmp_path / "half.xml") == Tally(errors=1)


@pytest.mark.parametrize(
    ("tally", "good"),
    [
        (Tally(passed=3), True),
        (Tally(), False),
        (Tally(passed=3, failed=1), False),
        (Tally(passed=3, errors=1), False),
        (Tally(passed=3, skipped=1), False),
    ],
)
def test_only_passed_tests_are_good(tally, good):
    """Nothing at all, a failure, an error and a skip are all not good."""
    assert tally.good == good


def test_the_closing_line_is_like_pytests():
    """Counts that are not zero, then the time, between equal signs."""
    line = closing_line(Tally(passed=5, failed=1), 83.456)

    assert line.strip("=") == " 1 failed, 5 passed in 83.46s (0:01:23) "
    assert len(line) == 80


def test_a_tier_that_ended_badly_is_an_error_and_says_why():
    """Its tests passed, so that pytest has nothing to say of it: its last lines do."""
    said = "\n".join(["entering a nested host", *["frame"] * KEPT_LINES, "splat"])
    bad = Ended("debian-13", Tally(passed=74), 1, said)

    assert bad.tally == Tally(passed=74, errors=1)
    why, *lines = complaint(bad).splitlines()
    assert why == "debian-13: every test passed, yet it ended with 1."
    assert lines == [*["frame"] * (KEPT_LINES - 1), "splat"]


@pytest.mark.parametrize(
    ("tests", "status"), [(Tally(passed=3), 0), (Tally(passed=3, failed=1), 1)]
)
def test_a_tier_whose_tests_say_all_has_no_complaint(tests, status):
    """Good, or bad by its tests: nothing is added to what pytest counted."""
    ended = Ended("machine", tests, status, "a line")

    assert ended.tally == tests
    assert not complaint(ended)


def test_each_file_with_tests_is_taken_once():
    """As they come; what else pytest says names none."""
    said = "tests/b.py::test_x[1]\ntests/b.py::test_y\ntests/a.py::test_z\n\n3 tests\n"

    assert files_in(said) == ["tests/b.py", "tests/a.py"]


def test_every_test_has_its_tier():
    """On this machine or the newest kernel; where it hangs on that, on each."""
    machine, *nested = TIERS
    of = {
        kernel: [t.markers for t in nested if t.name.startswith(kernel)]
        for kernel in KERNELS
    }
    assert sum(map(len, of.values())) == len(nested)
    *older, newest = of.values()
    observed, served = "bpf or vm or nested", "service or guest"
    assert newest == [f"({observed}) and not oldest", served]
    on_host = f"({observed} or {served})"
    assert machine.markers == f"not {on_host}"
    assert older == [[f"{on_host} and not newest"]] * len(older)
