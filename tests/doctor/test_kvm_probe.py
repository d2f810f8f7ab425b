# SPDX-License-Identifier: Apache-2.0
import pytest

from observer.doctor.kvm_probe import run_one_instruction


def test_a_device_that_is_not_kvm_is_an_error(tmp_path):
    """A plain file takes no ioctl, and that is an OSError as for any bad device."""
    device = tmp_path / "kvm"
    device.touch()

    with pytest.raises(OSError, match="Inappropriate ioctl"):
        run_one_instruction(device)


@pytest.mark.vm
def test_a_real_device_runs_the_instruction(real_kvm):
    """Where KVM works, OUT comes back as OUT, again and again."""
    for _ in range(3):
        run_one_instruction(real_kvm)
