# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import pytest

from observer.errors import EmulatorFaultError, KernelSplatError
from observer.testbed.nested import (
    EMULATOR_TRIES,
    NestedRun,
    again_on_fault,
    checkout,
    passed_env,
)

ROOT = Path("/src")


def test_the_venv_comes_first_and_sbin_is_there() -> None:
    """Also the PATH of a user who has no sbin will do for root."""
    path = passed_env({"PATH": "/bin:/own"}, ROOT)["PATH"].split(":")

    assert path[:3] == ["/src/.venv/bin", "/bin", "/own"]
    assert "/usr/sbin" in path
    assert len(path) == len(set(path))


def test_passes_little_of_the_environment() -> None:
    """Secrets and the caller's home stay outside."""
    env = {"CI": "1", "OBSERVER_X": "2", "PYTEST_Y": "3", "HOME": "/me", "TOKEN": "t"}

    passed = passed_env(env, ROOT)

    assert {"CI": "1", "OBSERVER_X": "2", "PYTEST_Y": "3"}.items() <= passed.items()
    assert passed["HOME"] != "/me"
    assert "TOKEN" not in passed


def test_exit_codes_are_the_shells() -> None:
    """A signal counts from 128, as in any shell."""
    codes = [NestedRun(n, Path("/log"), 1.0, kvm=False).exit_code for n in (0, 3, -9)]

    assert codes == [0, 3, 137]


def test_knows_its_own_checkout() -> None:
    """The package under test lies in the checkout that is shared."""
    assert (checkout() / "observer/testbed/nested.py").exists()


def failing(errors: list[Exception]) -> Callable[[], str]:
    """Something that goes well once the errors have been used up."""

    def run() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    return run


def test_the_emulators_faults_are_run_again() -> None:
    """Said aloud each time, and not for ever."""
    said: list[str] = []
    faults = [EmulatorFaultError(f"fault {n}.") for n in range(EMULATOR_TRIES)]

    assert again_on_fault(failing(list(faults[:-1])), said.append) == "done"
    assert said == [
        "fault 0. Once more, from the start.",
        "fault 1. Once more, from the start.",
    ]
    with pytest.raises(EmulatorFaultError, match=f"fault {EMULATOR_TRIES - 1}"):
        again_on_fault(failing(faults), said.append)


def test_what_our_programs_may_have_done_is_not() -> None:
    """A splat ends it at once."""
    said: list[str] = []

    with pytest.raises(KernelSplatError):
        again_on_fault(failing([KernelSplatError("Oops")]), said.append)

    assert not said
