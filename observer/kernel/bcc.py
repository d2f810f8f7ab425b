# SPDX-License-Identifier: Apache-2.0
"""Arm the host with programs that BCC compiles now: the scanning design.

BCC is Debian's python3-bpfcc, which no virtual environment sees; PyPI's `bcc` is
another package.  Nothing outlives the daemon: its end takes the programs away.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import tempfile
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from observer.doctor.host import this_host
from observer.doctor.loaders import DIST_PACKAGES, bcc, bcc_headers
from observer.errors import HostError, ProgramError
from observer.kernel.books import PinnedBooks
from observer.kernel.btf import KernelTypes, offset_macros
from observer.kernel.cells import map_cells
from observer.kernel.pins import make_folder, unpin_all
from observer.kernel.scanned_books import LOOK, ProgramReader, Programs, ScannedBooks
from observer.kernel.scanner import limits_of, warm_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    from observer.doctor.host import Host
    from observer.kernel.libbpf import Libbpf

__all__ = ["Compiled", "check_bcc", "import_bcc", "run_queue_macros", "sources"]

SOURCES = (
    "scanning.bcc.c",
    "scanning_look.bcc.c",
    "scanning_entry.bcc.c",
    "scanning_rings.bcc.c",
)
MODULES = ("kvm", "kvm_amd", "kvm_intel", "vhost")
TRACEPOINTS = {
    b"sched_process_exit": b"on_process_exit",
    b"signal_deliver": b"on_signal",
    b"kvm_exit": b"on_kvm_exit",
    b"kvm_vcpu_wakeup": b"on_vcpu_wakeup",
}
KPROBES = {
    b"ioeventfd_write": b"on_kick",
    b"kvm_arch_set_irq_inatomic": b"on_call",
}
HOOKED_NOWHERE = (b"look_at_vcpu", b"look_at_ring", b"enter_vhost_file")
QUOTED_CHARS = 200
POOLS = ("vms", "vcpus", "rings")
PINNED = (
    *(*POOLS, "next_slots", "drops", "suspicions", "processes"),
    *("vcpu_by_tid", "vm_by_kvm", "ring_by_kick"),
    *("free_vms", "free_vcpus", "free_rings"),
)


def sources() -> list[Path]:
    """The C files: in the package where it was installed, else in the checkout."""
    package = Path(str(files("observer")))
    folders = (package / "bpf", package.parent / "bpf")
    folder = next(f for f in folders if (f / SOURCES[0]).is_file())
    return [folder / name for name in SOURCES]


def check_bcc(host: Host) -> None:
    """Raise `HostError` where this BCC is none, or cannot compile for this kernel."""
    for finding in (bcc(host), bcc_headers(host)):
        if finding.state == "missing":
            raise HostError(f"{finding.detail}: {finding.next_step.rstrip('.')}.")


def import_bcc(folder: Path = Path(DIST_PACKAGES)) -> ModuleType:
    """Import the real BCC, whatever else is called `bcc`, and nothing else there."""
    if "bcc" in sys.modules:
        return sys.modules["bcc"]
    package = folder / "bcc"
    spec = importlib.util.spec_from_file_location(
        "bcc", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    if spec is None or spec.loader is None:
        raise HostError(f"{package} cannot be imported: apt install python3-bpfcc.")
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def quiet(what: str) -> Iterator[None]:
    """Keep what LLVM prints from the user, unless it says why something failed."""
    with tempfile.TemporaryFile() as said:
        kept = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield
        except Exception as e:
            said.seek(0)
            text = said.read().decode(errors="replace")
            last = [line for line in text.splitlines() if line.strip()][-1:]
            why = [*re.findall(r"error: .*", text), *last, str(e)][0]
            raise ProgramError(
                f"BCC could not {what} ({why.strip()[:QUOTED_CHARS]}): "
                "use the default loader, or see `observer doctor`."
            ) from e
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def run_queue_macros(kallsyms: Path = Path("/proc/kallsyms")) -> list[str]:
    """-D options for where the kernel keeps its CPUs' run queues."""
    pattern = r"^([0-9a-f]+) \w (runqueues|__per_cpu_offset)$"
    lines = re.findall(pattern, kallsyms.read_text(), re.MULTILINE)
    found = {name: address for address, name in lines}
    names = {"runqueues": "RUN_QUEUES", "__per_cpu_offset": "PER_CPU_OFFSETS"}
    missing = [name for name in names if name not in found]
    if missing:
        raise HostError(
            f"{kallsyms} does not tell where {' and '.join(missing)} is: "
            "set kernel.kptr_restrict to 0 or 1."
        )
    return [f"-D{macro}=0x{found[name]}ULL" for name, macro in names.items()]


class Compiled:
    """The programs in the kernel, and the books that they keep."""

    def __init__(self, libbpf: Libbpf, knobs: Mapping[str, int], root: Path) -> None:
        check_bcc(this_host())
        self._libbpf, self._knobs = libbpf, knobs
        self._root = root.with_name(f"{root.name}-scanning")
        self.adopted: list[str] = []  # nothing outlives a daemon of this design
        warm_up(limits_of(knobs).scan)
        self._bcc = import_bcc()
        self._text = "".join(path.read_text() for path in sources())
        self._bpf = self._compile()
        self.books = self._open_books()
        try:
            self._attach()
        except ProgramError:
            self.books.close(detach=True)
            raise

    def arm_missing(self) -> list[str]:
        """Nothing: what was left out would have to be compiled anew."""
        return []

    def _compile(self) -> Any:
        with KernelTypes(self._libbpf, MODULES) as types:
            offsets = offset_macros(types, self._text)
        self._vhost = any("-DAT_vhost_" in macro for macro in offsets)
        if not any("-DAT_vcpu_" in macro for macro in offsets):
            raise HostError("KVM is not loaded: modprobe kvm_amd or kvm_intel.")
        flags = [*offsets, *run_queue_macros(), f"-I{sources()[0].parent}", "-w"]
        with quiet("compile its programs for this kernel"):
            return self._bcc.BPF(text=self._text.encode(), cflags=flags)

    def _fd(self, table: str) -> int:
        return int(self._bcc.lib.bpf_table_fd(self._bpf.module, table.encode()))

    def _open_books(self) -> ScannedBooks:
        unpin_all(self._root)  # of a daemon that was killed
        folder = self._root / "books"
        make_folder(folder)
        for name in PINNED:
            path = os.fsencode(folder / name)
            if self._libbpf.bpf_obj_pin(self._fd(name), path):
                raise ProgramError(f"The map {name} cannot be pinned in {folder}.")
        for pool in POOLS:
            nobody = (0).to_bytes(4, "little")
            self._libbpf.bpf_map_update_elem(
                self._fd(f"unused_{pool}"), None, nobody, 0
            )
        with quiet("load its programs"):
            raw = self._bcc.BPF.RAW_TRACEPOINT
            loaded = (self._bpf.load_func(name, raw).fd for name in HOOKED_NOWHERE)
            programs = Programs(*loaded)
        look = map_cells(self._fd("looks"), LOOK, 1)
        books = ScannedBooks(
            PinnedBooks(self._libbpf, folder, folder),
            ProgramReader(self._libbpf, look, programs),
            limits_of(self._knobs),
            self._bpf.cleanup,
        )
        if not self._vhost:
            books.left_out["vhost"] = (
                "module vhost is not loaded; start the observer again once it is"
            )
        return books

    def _attach(self) -> None:
        with quiet("attach its programs"):
            for tracepoint, program in TRACEPOINTS.items():
                self._bpf.attach_raw_tracepoint(tp=tracepoint, fn_name=program)
            for function, program in KPROBES.items():
                self._bpf.attach_kprobe(event=function, fn_name=program)
