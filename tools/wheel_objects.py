# SPDX-License-Identifier: Apache-2.0
"""Hatch's build hook: a wheel carries the BPF objects, built by clang when missing.

An editable install needs none of this: there `make bpf` builds them in place.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = ["BpfObjects"]

BCC_HEADERS = ("cells.h", "exit_reasons.h")


class BpfObjects(BuildHookInterface):  # type: ignore[misc]
    """Builds `observer/bpf/*.bpf.o` before the wheel is packed."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the objects; the wheel then belongs to this machine's platform."""
        if version == "editable":
            return
        subprocess.run(["make", "objects"], cwd=Path(self.root), check=True)
        sources = sorted((Path(self.root) / "bpf").glob("*.bcc.c"))
        names = (*(source.name for source in sources), *BCC_HEADERS)
        for name in names:  # compiled where the wheel is installed
            build_data["force_include"][f"bpf/{name}"] = f"observer/bpf/{name}"
        abi = "guest_abi.h"  # which the service VMs were built with
        build_data["force_include"][f"unikernels/include/{abi}"] = (
            f"observer/services/{abi}"
        )
        build_data["infer_tag"] = False
        build_data["tag"] = "py3-none-linux_x86_64"
