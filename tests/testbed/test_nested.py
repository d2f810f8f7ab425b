# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from observer.testbed.nested import NestedRun, checkout, passed_env

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
