# SPDX-License-Identifier: Apache-2.0
"""Checks of the two ways to load BPF: libbpf and BCC.

PyPI's `bcc` is a lattice library that merely shares the name, and a real BCC fails
where the kernel's headers use types that its own copy of bpf.h does not have yet.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from observer.doctor.finding import Finding, missing, ok, warn

if TYPE_CHECKING:
    from pathlib import Path

    from observer.doctor.host import Host

__all__ = ["DIST_PACKAGES", "bcc", "bcc_headers", "libbpf", "unknown_to_bcc"]

OLDEST_LIBBPF = 1
"""libbpf 1.0 made its names final; 0.x has another soname."""

DIST_PACKAGES = "/usr/lib/python3/dist-packages"
"""Where Debian keeps BCC, out of sight of a virtual environment."""

LIBBCC_PATTERN = "usr/lib/*/libbcc.so.0"


def libbpf(host: Host) -> Finding:
    """Whether the distribution's libbpf is there and new enough."""
    try:
        version = host.libbpf_version()
    except OSError:
        return missing(
            "libbpf",
            "libbpf.so.1 cannot be loaded",
            "Run: apt-get install libbpf1",
            "libbpf1",
        )
    if int(version.split(".")[0]) < OLDEST_LIBBPF:
        return missing(
            "libbpf",
            f"libbpf {version} is too old",
            "Install libbpf 1.0 or newer, e.g. that of Debian 12.",
            "libbpf1",
        )
    return ok("libbpf", f"libbpf {version}")


def _is_real(package: Path) -> bool:
    """BCC wraps libbcc; the impostor has nothing of that kind."""
    return (package / "libbcc.py").is_file()


def _bcc_version(package: Path) -> str:
    try:
        text = (package / "version.py").read_text(encoding="utf-8")
    except OSError:
        return "of unknown version"
    found = re.search(r"__version__\s*=\s*['\"]([^'\"]+)", text)
    return found[1] if found else "of unknown version"


def bcc(host: Host) -> Finding:
    """Whether BCC is the real one."""
    folders = (*host.python_path, host.path(DIST_PACKAGES))
    packages = [folder / "bcc" for folder in folders if (folder / "bcc").is_dir()]
    real = [package for package in packages if _is_real(package)]
    impostors = [package for package in packages if not _is_real(package)]
    if impostors:
        detail = f"{impostors[0]} is PyPI's bcc, a lattice library, not BCC"
        if not real:
            return missing(
                "bcc",
                detail,
                "Run: pip uninstall bcc && apt-get install python3-bpfcc",
                "python3-bpfcc",
            )
        return warn("bcc", f"{detail}; it hides {real[0]}", "Run: pip uninstall bcc")
    if not real:
        return missing(
            "bcc",
            "BCC is not installed; only the scanning design needs it",
            "Run: apt-get install python3-bpfcc",
            "python3-bpfcc",
        )
    return ok("bcc", f"BCC {_bcc_version(real[0])} in {real[0].parent}")


def unknown_to_bcc(kernel_header: str, uapi_header: str, libbcc: bytes) -> list[str]:
    """The BPF types that the kernel's bpf.h takes the size of and BCC does not know.

    BCC puts its own copy of uapi/linux/bpf.h in place of the kernel's, so such a
    type stays incomplete and nothing that includes linux/bpf.h compiles.
    iovisor/bcc#5231 (bpf_wq, Linux 6.10) and #5444 (bpf_task_work, 6.18) are two of
    them; looking at the types spares a table of versions.
    """
    sized = sorted(set(re.findall(r"sizeof\(struct (bpf_\w+)\)", kernel_header)))
    return [
        name
        for name in sized
        if f"struct {name} {{" in uapi_header
        and f"struct {name} {{".encode() not in libbcc
    ]


def _header_folder(host: Host) -> Path | None:
    """The headers of the running kernel; Debian splits them in two folders."""
    for name in ("source", "build"):
        folder = host.path(f"/lib/modules/{host.release}/{name}")
        if (folder / "include/linux/bpf.h").is_file():
            return folder
    return None


def _no_headers(release: str) -> Finding:
    """Debian's kernels have a package of headers; others have what their makers say."""
    packages = [f"linux-headers-{release}"] if release.endswith("-amd64") else []
    way = f"Run: apt-get install {packages[0]}" if packages else "Install them"
    return missing(
        "bcc-headers",
        f"BCC compiles against the headers of {release}, which are not installed",
        f"{way}, or stay with the default loader.",
        *packages,
    )


def bcc_headers(host: Host) -> Finding:
    """Whether BCC can compile against the headers of the running kernel."""
    folder = _header_folder(host)
    if folder is None:
        return _no_headers(host.release)
    library = next(iter(sorted(host.root.glob(LIBBCC_PATTERN))), None)
    if library is None:
        return warn(
            "bcc-headers",
            f"{folder} is there; whether BCC understands it shows once it is installed",
            "Run: apt-get install python3-bpfcc",
            "python3-bpfcc",
        )
    unknown = unknown_to_bcc(
        (folder / "include/linux/bpf.h").read_text(encoding="utf-8"),
        (folder / "include/uapi/linux/bpf.h").read_text(encoding="utf-8"),
        library.read_bytes(),
    )
    if unknown:
        return missing(
            "bcc-headers",
            f"this BCC cannot compile against Linux {host.release}: the kernel's"
            f" headers use {', '.join(unknown)}, which BCC's own bpf.h does not have",
            "Use the default loader, libbpf, or a newer BCC.",
        )
    return ok("bcc-headers", f"{folder}, understood by this BCC")
