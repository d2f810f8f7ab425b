# SPDX-License-Identifier: Apache-2.0
import pytest

from observer.inventory.vhost_worker import vhost_workers


def _thread(proc, path, comm):
    (proc / path).mkdir(parents=True)
    (proc / path / "comm").write_text(f"{comm}\n")


@pytest.mark.parametrize("where", ["901", "800/task/901"])
def test_workers_are_found_where_the_kernel_keeps_them(tmp_path, where):
    """Threads of the kernel before Linux 6.4, of the VMM since."""
    _thread(tmp_path, "800", "qemu-system-x86")
    _thread(tmp_path, "800/task/800", "qemu-system-x86")
    _thread(tmp_path, where, "vhost-800")
    _thread(tmp_path, "902", "vhost-8001")

    assert vhost_workers(800, tmp_path) == [901]
