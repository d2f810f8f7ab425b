# SPDX-License-Identifier: Apache-2.0
import lzma

import pytest

from observer.errors import HostError
from observer.guests import modules

MODULES_DEP = """\
kernel/net/core/failover.ko:
kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko \
kernel/net/core/failover.ko kernel/drivers/virtio/virtio.ko \
kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio-mem.ko.xz: kernel/drivers/virtio/virtio.ko
alias virtio:d00000001v* virtio_net
"""


def _order(*names):
    needs = modules.dependencies(MODULES_DEP)
    return [path.rpartition("/")[2] for path in modules.load_order(needs, names)]


def test_a_module_comes_after_all_that_it_needs():
    """Insmod, which resolves nothing, succeeds in the given order."""
    needs = modules.dependencies(MODULES_DEP)

    order = modules.load_order(needs, ["virtio_net"])

    assert order[-1].endswith("virtio_net.ko")
    assert all(
        order.index(need) < order.index(path) for path in order for need in needs[path]
    )


def test_a_module_needed_twice_is_loaded_once():
    """A second insmod of the same module would fail."""
    order = _order("virtio_net", "virtio", "virtio_net")

    assert len(order) == len(set(order)) == 5


def test_a_module_is_known_by_its_kernel_name():
    """Hyphens and endings in file names do not matter, as for modprobe."""
    assert _order("virtio_mem")[-1] == "virtio-mem.ko.xz"


def test_an_unknown_module_is_refused_by_name():
    """The sentence names what the kernel lacks."""
    with pytest.raises(HostError, match="no module virtio_blk"):
        _order("virtio_blk")


def test_modules_dep_is_read_where_it_was_written(tmp_path):
    """An installed kernel's own list is taken."""
    folder = tmp_path / "lib/modules/6.1.0"
    folder.mkdir(parents=True)
    (folder / "modules.dep").write_text(MODULES_DEP)

    needs = modules.read_dependencies(tmp_path, "6.1.0")

    assert needs["kernel/net/core/failover.ko"] == ()


def test_a_packed_module_is_given_unpacked(tmp_path):
    """A busybox that cannot unpack xz loads it all the same."""
    packed = tmp_path / "a.ko.xz"
    packed.write_bytes(lzma.compress(b"module"))

    assert modules.module_bytes(packed) == b"module"
