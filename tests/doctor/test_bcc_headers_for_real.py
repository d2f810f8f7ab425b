# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
from pathlib import Path

import pytest

from observer.doctor.loaders import unknown_to_bcc
from observer.testbed.kernel import KERNELS, load

FETCHED = Path(__file__).parents[2] / "build/testbed"
PROGRAM = """
from bcc import BPF
BPF(text='#include <linux/bpf.h>\\nint nothing(void *context) { return 0; }')
"""


def _join(target, *sources):
    """Link what several folders have into one; Debian splits its headers in two."""
    target.mkdir()
    for name in {path.name for source in sources for path in source.iterdir()}:
        owners = [source / name for source in sources if (source / name).exists()]
        if len(owners) > 1 and owners[0].is_dir():
            _join(target / name, *owners)
        else:
            (target / name).symlink_to(owners[0])


@pytest.mark.parametrize("name", KERNELS)
def test_bcc_compiles_where_its_types_suffice(name, tmp_path):
    """BCC itself is the oracle: it compiles against a kernel's headers, or not."""
    kernel = load(name, FETCHED)
    if kernel is None:
        pytest.skip("the kernel is not there; run: observer testbed fetch")
    modules = kernel.modules_of(kernel.release)
    headers = tmp_path / "headers"
    _join(headers, modules / "source", modules / "build")
    (library,) = Path("/usr/lib").glob("*/libbcc.so.0")

    unknown = unknown_to_bcc(
        (headers / "include/linux/bpf.h").read_text(encoding="utf-8"),
        (headers / "include/uapi/linux/bpf.h").read_text(encoding="utf-8"),
        library.read_bytes(),
    )
    tried = subprocess.run(
        # Debian's own interpreter sees Debian's BCC.
        ["/usr/bin/python3", "-c", PROGRAM],
        env={**os.environ, "BCC_KERNEL_SOURCE": str(headers)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert bool(unknown) == (tried.returncode != 0), tried.stderr
    assert all(f"'struct {known}'" in tried.stderr for known in unknown), tried.stderr
