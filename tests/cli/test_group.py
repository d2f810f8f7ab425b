# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from observer import __version__
from observer.cli import VERBS, main
from observer.cli.group import VerbGroup, load_verb
from observer.errors import ConfigError, HostError

HERE = {
    "bug": f"{__name__}:bug",
    "config": f"{__name__}:config",
    "host": f"{__name__}:host",
    "interrupted": f"{__name__}:interrupted",
    "status": f"{__name__}:status",
}


@click.command
def bug():
    """Fail as no verb should."""
    raise ZeroDivisionError("division by zero")


@click.command
def config():
    """Fail with a mistake of the user's."""
    raise ConfigError("limits.toml: unknown key 'vcpus'; remove it.")


@click.command
def host():
    """Fail with something that the host lacks."""
    raise HostError("There is no /dev/kvm; load kvm_amd.")


@click.command
def interrupted():
    """End by Ctrl-C."""
    raise KeyboardInterrupt


@click.command
def status():
    """Answer by the exit status."""
    return 7


@pytest.fixture
def run(tmp_path):
    """Run a command line of the verbs above; tracebacks go to the test's folder."""

    def invoke(*args, **env):
        group = VerbGroup(HERE, traceback_folder=tmp_path)
        return CliRunner(env={"OBSERVER_TRACEBACK": None}).invoke(group, args, env=env)

    return invoke


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_a_click_command(verb):
    """Each entry of the mapping can be imported and has a line of help."""
    command = load_verb(VERBS[verb])

    assert command.name == verb
    assert command.get_short_help_str()


def test_help_lists_every_verb():
    """Whoever asks for help sees all that there is."""
    result = CliRunner().invoke(main, ["--help"])

    assert result.exit_code == 0
    assert all(f"  {verb} " in result.output for verb in VERBS)


def test_no_verb_shows_the_help():
    """A bare `observer` is answered with the help, not with an error."""
    result = CliRunner().invoke(main, [])

    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: observer")


def test_version():
    """The version is the package's."""
    assert CliRunner().invoke(main, ["--version"]).output == f"observer {__version__}\n"


@pytest.mark.parametrize(
    ("verb", "code", "line"),
    [
        ("host", 1, "observer: There is no /dev/kvm; load kvm_amd.\n"),
        ("config", 2, "observer: limits.toml: unknown key 'vcpus'; remove it.\n"),
        # The terminal has written ^C: click ends that line first.
        ("interrupted", 130, "\nobserver: interrupted.\n"),
    ],
)
def test_an_error_is_one_sentence(run, verb, code, line):
    """Errors come as one line on stderr, with the status of their kind."""
    result = run(verb)

    assert (result.exit_code, result.stderr, result.stdout) == (code, line, "")


@pytest.mark.parametrize(
    "args", [["no-such-verb"], ["status", "--no-such-option"], ["status", "extra"]]
)
def test_wrong_usage_is_one_sentence_too(run, args):
    """What click complains about points to the help on the same line."""
    result = run(*args)

    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "--help'" in result.stderr


def test_a_bug_leaves_its_traceback_in_a_file(run, tmp_path):
    """The user sees one line; the developer finds the traceback where it says."""
    result = run("bug")

    (kept,) = tmp_path.iterdir()
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert str(kept) in result.stderr
    assert "Traceback" in kept.read_text()


def test_a_traceback_may_be_asked_for(run):
    """With OBSERVER_TRACEBACK=1 it is printed before the sentence."""
    assert run("bug", OBSERVER_TRACEBACK="1").stderr.startswith("Traceback")


def test_a_verb_answers_by_its_exit_status(run):
    """What a verb returns is the exit status, as monitors expect."""
    assert run("status").exit_code == 7


def test_the_command_line_alone_imports_nothing_heavy():
    """Monitors call `observer` every few seconds: no numba, numpy or rich for that."""
    heavy = "{'numba', 'numpy', 'rich', 'pyroute2', 'bcc'}"
    program = f"import sys, observer.cli; print({heavy} & set(sys.modules))"

    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert out == "set()\n"
