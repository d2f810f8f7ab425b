# SPDX-License-Identifier: Apache-2.0
"""A click group that imports its verbs late and never ends in a traceback.

Importing late keeps `observer check`, which monitors call every few seconds, free
of numba and of all that other verbs need.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

import click

from observer import __version__
from observer.errors import ObserverError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["VerbGroup", "load_verb"]

INTERRUPTED = 130
"""The shell's exit status for a program that Ctrl-C ended."""


def load_verb(target: str) -> click.Command:
    """Import the click command that `module:attribute` names."""
    module, _, attribute = target.partition(":")
    verb = getattr(importlib.import_module(module), attribute)
    if not isinstance(verb, click.Command):
        raise TypeError(f"{target} is not a click command")
    return verb


def _keep_traceback(error: Exception, folder: Path | None) -> str:
    """Write the traceback where it can be found and say where that is."""
    text = "".join(traceback.format_exception(error))
    if os.environ.get("OBSERVER_TRACEBACK") == "1":
        click.echo(text, err=True, nl=False)
        return "the traceback is above"
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="observer-traceback-",
            suffix=".txt",
            dir=folder,
            delete=False,
        ) as file:
            file.write(text)
    except OSError:
        return "set OBSERVER_TRACEBACK=1 to see the traceback"
    return f"the traceback is in {file.name}"


def _sentence_of(error: click.ClickException) -> str:
    """What click has to say, on one line, with the way to the help."""
    said = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{said.rstrip('.')}; see '{error.ctx.command_path} --help'."
    return said


def _end(message: str, status: int) -> NoReturn:
    click.echo(f"observer: {message}", err=True)
    sys.exit(status)


class VerbGroup(click.Group):
    """The `observer` command over a literal mapping of verb to `module:attribute`."""

    def __init__(
        self, verbs: Mapping[str, str], traceback_folder: Path | None = None
    ) -> None:
        super().__init__(
            name="observer",
            help="Watch the virtual machines of this KVM host from outside.",
            context_settings={"help_option_names": ["-h", "--help"]},
            params=[
                click.Option(
                    ["--version"],
                    is_flag=True,
                    expose_value=False,
                    is_eager=True,
                    callback=_print_version,
                    help="Print the version and end.",
                )
            ],
        )
        self._verbs = verbs
        self._traceback_folder = traceback_folder

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All verbs, in the order in which a newcomer needs them."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one verb, or None when there is no such verb."""
        target = self._verbs.get(cmd_name)
        return None if target is None else load_verb(target)

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run a verb; leave with its status, and on failure with one sentence.

        A verb gives its exit status by returning an integer or by `ctx.exit`.
        """
        kwargs["standalone_mode"] = False
        kwargs.setdefault("prog_name", "observer")
        try:
            status = super().main(*args, **kwargs)
        except ObserverError as error:
            _end(error.message, error.exit_code)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            _end(_sentence_of(error), error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            _end("interrupted.", INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - the edge: nothing may leave as a traceback
            what = f"{type(error).__name__}: {error}".strip(": ")
            kept = _keep_traceback(error, self._traceback_folder)
            _end(f"a bug in observer ({what}); {kept}.", 1)
        sys.exit(status if isinstance(status, int) else 0)


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"observer {__version__}")
        ctx.exit()
