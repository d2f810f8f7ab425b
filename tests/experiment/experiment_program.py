# SPDX-License-Identifier: Apache-2.0
"""The programs below `experiments`, which are files and no package, for tests."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from observer.testbed.nested import checkout

if TYPE_CHECKING:
    from types import ModuleType


def program(path: str) -> ModuleType:
    """One of them as a module, not run."""
    file = checkout() / "experiments" / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
