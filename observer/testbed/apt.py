# SPDX-License-Identifier: Apache-2.0
"""Asks apt about packages and downloads them, without root and installing nothing.

Where apt's own lists are empty, stale or of another release, a private state is used:
its own lists, fed by this machine's own mirrors.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from observer.errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = [
    "Apt",
    "Target",
    "backports",
    "backports_for",
    "parse_depends",
    "parse_targets",
    "sources_for",
    "states",
]

_TARGET_FORMAT = "$(CREATED_BY)|$(ORIGIN)|$(COMPONENT)|$(REPO_URI)|$(RELEASE)"
_SUITE = re.compile(r"^[a-z]+(?P<pocket>-security|-updates)?$")
_ARCHIVE_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True)
class Target:
    """One source of packages that this machine knows."""

    uri: str
    suite: str


def parse_depends(text: str) -> list[str]:
    """The packages that `apt-cache depends` says a package depends on."""
    found = re.findall(r"^[ |]*(?:Pre)?Depends: ([^<\s]+)$", text, re.MULTILINE)
    return list(dict.fromkeys(found))


def parse_targets(text: str) -> list[Target]:
    """Debian's main sources among those of `apt-get indextargets`."""
    ours = re.findall(r"^Packages\|Debian\|main\|(.*)\|(.*)$", text, re.MULTILINE)
    return [Target(uri, suite) for uri, suite in dict.fromkeys(ours)]


def sources_for(targets: Iterable[Target], codename: str, keys: str | None) -> str:
    """The text of a sources.list: the same mirrors, another release of Debian."""
    signed = f" signed-by={keys}" if keys else ""
    lines = []
    for target in targets:
        if known := _SUITE.match(target.suite):
            suite = codename + (known["pocket"] or "")
            lines.append(f"deb [arch=amd64{signed}] {target.uri} {suite} main\n")
    return "".join(dict.fromkeys(lines))


def _run(*argv: str, cwd: Path | None = None) -> str:
    """What a program printed; ProgramError with its last words if it failed."""
    done = subprocess.run(
        argv,
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = " ".join(done.stderr.split("\n")[-4:]).strip()
        raise ProgramError(f"{argv[0]} failed: {said or done.returncode}")
    return done.stdout


@dataclass(frozen=True)
class Apt:
    """One view of the archives."""

    options: tuple[str, ...] = ()
    """What makes apt use this view, as `-o` takes them."""

    def _argv(self, program: str) -> list[str]:
        argv = [program, "-q"]
        # Root's downloads would be made by the user _apt, who may not write here.
        for option in (*self.options, "APT::Sandbox::User=root", "Acquire::Retries=3"):
            argv += ["-o", option]
        return argv

    def depends(self, package: str) -> list[str]:
        """What the newest version depends on; empty if there is no such package."""
        try:
            return parse_depends(_run(*self._argv("apt-cache"), "depends", package))
        except ProgramError:
            return []

    def targets(self) -> list[Target]:
        """Debian's main sources, as far as their lists have been fetched."""
        argv = [*self._argv("apt-get"), "indextargets", "--format", _TARGET_FORMAT]
        return parse_targets(_run(*argv))

    def update(self) -> None:
        """Fetch the lists; some sources may fail as long as Debian's do not."""
        with contextlib.suppress(ProgramError):
            _run(*self._argv("apt-get"), "update")

    def download(self, packages: Iterable[str], folder: Path) -> None:
        """Put the newest .deb of each package into the folder."""
        _run(*self._argv("apt-get"), "download", *packages, cwd=folder)


def _private(folder: Path, sources: str | None) -> Apt:
    """A state of its own under the folder, with these sources or the machine's."""
    (folder / "lists/partial").mkdir(parents=True, exist_ok=True)
    (folder / "cache/archives/partial").mkdir(parents=True, exist_ok=True)
    options = [f"Dir::State::lists={folder}/lists", f"Dir::Cache={folder}/cache"]
    if sources is not None:
        listed = folder / "sources.list"
        listed.write_text(sources)
        options += [f"Dir::Etc::sourcelist={listed}", "Dir::Etc::sourceparts=-"]
    return Apt(tuple(options))


def backports_for(targets: Iterable[Target], keys: str | None) -> str:
    """The text of a sources.list: the backports of these releases, same mirrors."""
    signed = f" signed-by={keys}" if keys else ""
    lines = [
        f"deb [arch=amd64{signed}] {target.uri} {target.suite}-backports main\n"
        for target in targets
        if (known := _SUITE.match(target.suite)) and not known["pocket"]
    ]
    return "".join(dict.fromkeys(lines))


def backports(folder: Path) -> Apt:
    """A view of the backports of this machine's release."""
    own = _private(folder / "own", None)
    targets = own.targets()
    if not targets:
        own.update()
        targets = own.targets()
    view = _private(folder / "backports", backports_for(targets, _keys()))
    view.update()
    return view


def _keys() -> str | None:
    return _ARCHIVE_KEYS if os.path.exists(_ARCHIVE_KEYS) else None  # noqa: PTH110


def states(folder: Path, codename: str) -> Iterator[Apt]:
    """Views of the archives to try in turn, the cheapest first.

    A private one is fetched only when it is asked for.
    """
    own = Apt()
    yield own
    fresh = _private(folder / "own", None)
    fresh.update()
    yield fresh
    text = sources_for(fresh.targets(), codename, _keys())
    other = _private(folder / codename, text)
    other.update()
    yield other
