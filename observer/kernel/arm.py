# SPDX-License-Identifier: Apache-2.0
"""Arm the host with the CO-RE objects: load what is not there, take over what is.

An object whose kernel modules are absent is left out with a reason; `arm_missing`
tries again, e.g. when the kernel says that a module was loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from observer.errors import HostError, ProgramError
from observer.kernel.books import PinnedBooks
from observer.kernel.libbpf import BpfObject, Libbpf
from observer.kernel.pins import (
    build_tag,
    layout_tag,
    make_folder,
    unpin,
    unpin_all,
    unpin_older,
)
from observer.services.folder import RUNTIME

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OBJECTS", "ROOT", "Armed", "needs_of"]

ROOT = Path("/sys/fs/bpf/observer")
# Object -> modules whose types it reads; of those in one tuple any will do.
OBJECTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "process": (),
    "vcpu": (("kvm",), ("kvm_amd", "kvm_intel")),
    "vring": (("kvm",), ("kvm_amd", "kvm_intel"), ("vhost",)),
    "service": (("kvm",), ("kvm_amd", "kvm_intel")),
    "console": (("kvm",),),
}


def needs_of(name: str, btf: Path) -> str | None:
    """Say what an object lacks, e.g. a module; None where it can be loaded."""
    if name == "service" and not RUNTIME.exists():
        return "no service VM was started here"
    for any_of in OBJECTS[name]:
        if not any((btf / module).exists() for module in any_of):
            return f"module {' or '.join(any_of)} is not loaded"
    return None


class Armed:
    """The objects in the kernel, and the books that they keep."""

    def __init__(
        self,
        libbpf: Libbpf,
        objects: Path,
        knobs: Mapping[str, int],
        root: Path = ROOT,
        btf: Path = Path("/sys/kernel/btf"),
    ) -> None:
        self._libbpf, self._objects, self._knobs = libbpf, objects, knobs
        self._root, self._btf = root, btf
        self._maps = root / f"books-{layout_tag()}"
        self.adopted: list[str] = []
        if not (btf / "vmlinux").exists():
            raise HostError(
                f"{btf / 'vmlinux'} is missing, the kernel has no BTF: "
                "use one built with CONFIG_DEBUG_INFO_BTF."
            )
        make_folder(root)
        unpin_older(root, "books", self._maps.name)
        make_folder(self._maps)
        left_out = self._arm_all_or_none()
        self.books = PinnedBooks(libbpf, self._maps, self._folder("vring"))
        self.books.left_out.update(left_out)

    def _folder(self, name: str) -> Path:
        built = (self._objects / f"{name}.bpf.o").read_bytes()
        return self._root / f"{name}-{build_tag(built, self._knobs)}"

    def _arm_all_or_none(self) -> dict[str, str]:
        """Leave no program behind that nobody would ever listen to."""
        try:
            return self._arm_all()
        except ProgramError:
            unpin_all(self._root)
            raise

    def _arm_all(self) -> dict[str, str]:
        left_out = {}
        for name in OBJECTS:
            lacks = needs_of(name, self._btf)
            if lacks:
                left_out[name] = lacks
            else:
                self._arm(name)
        return left_out

    def _arm(self, name: str) -> None:
        folder = self._folder(name)
        unpin_older(self._root, name, folder.name)
        built = BpfObject(self._libbpf, self._objects / f"{name}.bpf.o", self._maps)
        try:
            if folder.is_dir():
                if {p.name for p in folder.iterdir()} == set(built.programs()):
                    self.adopted.append(name)
                    return
                unpin(folder)  # a start that was cut short
            built.set_knobs(self._knobs)
            built.load()
            make_folder(folder)
            links = built.attach(folder)
            built.detach(links)  # the pins hold them now
        finally:
            built.close()

    def arm_missing(self) -> list[str]:
        """Load objects left out so far whose modules are there now; names them."""
        late = [n for n in self.books.left_out if needs_of(n, self._btf) is None]
        for name in late:
            self._arm(name)
            del self.books.left_out[name]
        if late:
            self.books.reopen(late)
        return late
