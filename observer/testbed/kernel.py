# SPDX-License-Identifier: Apache-2.0
"""Fetches Debian's kernels and their headers for nested hosts, without root.

A complete tree carries a stamp naming its packages and is never looked at again:
the second call needs no network. Remove the folder to get newer ones.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observer.errors import HostError, ProgramError, UsageError
from observer.testbed import apt, headers, programs, vmlinux

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["KERNELS", "Kernel", "Recipe", "fetch", "load", "packages_of", "release_of"]

_STAMP = "kernel.json"


@dataclass(frozen=True)
class Recipe:
    """What makes up one kernel of the testbed."""

    codename: str
    """Debian's release that has it."""
    series: str
    metapackages: tuple[str, ...]
    """Those that may lead to it, also from the release before."""
    flavours: tuple[str, ...]
    """The nested host's own first; a guest kernel may follow."""


KERNELS = {
    "debian-12": Recipe(
        "bookworm", "6.1", ("linux-image-amd64",), ("amd64", "cloud-amd64")
    ),
    "debian-13": Recipe(
        "trixie", "6.12", ("linux-image-amd64", "linux-image-6.12-amd64"), ("amd64",)
    ),
}


class Stamp(msgspec.Struct, frozen=True):
    """What a complete tree says about itself."""

    releases: tuple[str, ...]
    packages: tuple[str, ...]
    """The .deb files it was made from, with their versions."""


@dataclass(frozen=True)
class Kernel:
    """An extracted kernel; all paths are below `root`."""

    name: str
    root: Path
    releases: tuple[str, ...]
    packages: tuple[str, ...]

    @property
    def release(self) -> str:
        """What `uname -r` says in the nested host."""
        return self.releases[0]

    @property
    def image(self) -> Path:
        """The nested host's kernel, in the form that boots soonest."""
        unpacked = self.root / "boot" / f"vmlinux-{self.release}"
        return unpacked if unpacked.exists() else self.image_of(self.release)

    @property
    def guest_release(self) -> str | None:
        """The cloud kernel for guests, where the recipe has one."""
        return self.releases[1] if len(self.releases) > 1 else None

    def image_of(self, release: str) -> Path:
        """The kernel image of one of the releases, as its package has it."""
        return self.root / "boot" / f"vmlinuz-{release}"

    def modules_of(self, release: str) -> Path:
        """What belongs at /lib/modules/<release>."""
        return self.root / "lib/modules" / release

    def headers_of(self, release: str) -> Path:
        """The folder to build modules in: `make -C`."""
        return self.root / "usr/src" / f"linux-headers-{release}"


def release_of(recipe: Recipe, depends: Sequence[str]) -> str | None:
    """The ABI that a metapackage's dependencies lead to, e.g. 6.1.0-56, if ours."""
    image = re.compile(rf"linux-image-({re.escape(recipe.series)}\..+)-amd64")
    for package in depends:
        if found := image.fullmatch(package):
            return found[1]
    return None


def packages_of(
    depends: Callable[[str], list[str]], releases: Sequence[str]
) -> list[str]:
    """The images and headers of these releases, with what the headers are built of."""
    found = [f"linux-image-{release}" for release in releases]
    for release in releases:
        own = f"linux-headers-{release}"
        needed = depends(own)
        common = [
            name for name in needed if re.fullmatch(r"linux-headers-.*-common", name)
        ]
        kbuild = [name for name in needed if name.startswith("linux-kbuild-")]
        found += [own, *common, *kbuild]
    return list(dict.fromkeys(found))


def load(name: str, folder: Path) -> Kernel | None:
    """The kernel if it is there and complete."""
    try:
        text = (folder / name / _STAMP).read_bytes()
        stamp = msgspec.json.decode(text, type=Stamp)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return Kernel(name, folder / name, stamp.releases, stamp.packages)


def fetch(name: str, folder: Path, say: Callable[[str], None]) -> Kernel:
    """The kernel, downloaded and extracted below the folder if need be."""
    if name not in KERNELS:
        raise UsageError(
            f"there is no kernel {name}: take one of {', '.join(KERNELS)}."
        )
    if kernel := load(name, folder):
        return kernel
    programs.require(programs.TO_FETCH)
    with _locked(folder):
        return load(name, folder) or _fetch(name, folder, say)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(name: str, folder: Path, say: Callable[[str], None]) -> Kernel:
    """Try one view of the archives after the other."""
    recipe = KERNELS[name]
    wrong = f"no package source has a {recipe.series} kernel"
    try:
        for archives in apt.states(folder / "apt", recipe.codename):
            releases = _releases(recipe, archives)
            if not releases:
                continue
            try:
                return _build(name, folder, archives, releases, say)
            except ProgramError as error:
                # Lists older than the archive name packages that are gone.
                wrong = error.message
    except ProgramError as error:
        wrong = error.message
    raise HostError(
        f"cannot get the {name} kernel for the testbed: {wrong.rstrip('.')}; check "
        "that `apt-get update` works and that Debian is among the package sources."
    )


def _releases(recipe: Recipe, archives: apt.Apt) -> list[str]:
    for package in recipe.metapackages:
        if abi := release_of(recipe, archives.depends(package)):
            return [f"{abi}-{flavour}" for flavour in recipe.flavours]
    return []


def _build(
    name: str,
    folder: Path,
    archives: apt.Apt,
    releases: list[str],
    say: Callable[[str], None],
) -> Kernel:
    """Make the whole tree beside its place, then rename it there."""
    packages = packages_of(archives.depends, releases)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as scratch:
        debs, root = Path(scratch) / "debs", Path(scratch) / "root"
        debs.mkdir()
        root.mkdir(mode=0o755)
        say(f"downloading the {name} kernel {releases[0]}")
        archives.download(packages, debs)
        say(f"unpacking the {name} kernel {releases[0]}")
        found = tuple(sorted(deb.name for deb in debs.iterdir()))
        stamp = Stamp(tuple(releases), found)
        _extract(debs, root, releases)
        (root / _STAMP).write_bytes(msgspec.json.format(msgspec.json.encode(stamp)))
        # What is there has no valid stamp.
        shutil.rmtree(folder / name, ignore_errors=True)
        root.rename(folder / name)
    return Kernel(name, folder / name, stamp.releases, stamp.packages)


def _extract(debs: Path, root: Path, releases: Sequence[str]) -> None:
    for deb in sorted(debs.iterdir()):
        programs.call("dpkg-deb", "-x", str(deb), str(root))
    headers.gather_modules(root)
    headers.unpack_modules(root)
    headers.make_relocatable(root)
    for release in releases:
        programs.call("depmod", "-b", str(root), release)
        if elf := vmlinux.unpack((root / "boot" / f"vmlinuz-{release}").read_bytes()):
            (root / "boot" / f"vmlinux-{release}").write_bytes(elf)
