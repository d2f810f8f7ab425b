# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("bpf", "observer", "tests", "tools", "unikernels")
ENDINGS = {".py", ".c", ".h", ".S", ".sh"}
CEILING_LINES = 400
FORBIDDEN = {"utils", "helpers", "common", "manager", "misc"}

SOURCES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*")
    if path.suffix in ENDINGS
)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_keeps_the_house_style(path):
    """A licence on top, a size that can be read in one go, a name that says what."""
    lines = path.read_text(encoding="utf-8").splitlines()

    assert any("SPDX-License-Identifier: " in line for line in lines[:2])
    assert len(lines) <= CEILING_LINES
    assert path.stem not in FORBIDDEN
