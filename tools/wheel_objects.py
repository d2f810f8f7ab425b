# SPDX-License-Identifier: Apache-2.0
"""Hatch's build hook: a wheel carries the BPF objects and the service VMs' images.

An editable install needs none of this: there `make bpf` builds them in place.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = ["BpfObjects"]

BCC_HEADERS = ("cells.h", "exit_reasons.h")
OF_SERVICES = ("unikernels/images.toml", "unikernels/include/guest_abi.h")


class BpfObjects(BuildHookInterface):  # type: ignore[misc]
    """Builds what is not Python before the wheel is packed."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the objects; the wheel then belongs to this machine's platform."""
        if version == "editable":
            return
        root = Path(self.root)
        subprocess.run(["make", "objects"], cwd=root, check=True)
        subprocess.run(["make", "-C", "unikernels"], cwd=root, check=True)
        sources = sorted((root / "bpf").glob("*.bcc.c"))
        names = (*(source.name for source in sources), *BCC_HEADERS)
        for name in names:  # compiled where the wheel is installed
            build_data["force_include"][f"bpf/{name}"] = f"observer/bpf/{name}"
        images = sorted((root / "build/unikernels").glob("*.elf"))
        for path in (*images, *(root / name for name in OF_SERVICES)):
            place = str(path.relative_to(root))
            build_data["force_include"][place] = f"observer/services/{path.name}"
        build_data["infer_tag"] = False
        build_data["tag"] = "py3-none-linux_x86_64"
