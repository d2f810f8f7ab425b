# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from observer.testbed.accelerator import probe, verdict_of


@pytest.mark.parametrize(
    ("console", "kvm"),
    [
        ("...\r\nobserver-probe:nested\r\n", True),
        ("...\r\nobserver-probe:flat\r\n", False),
        ("Booting...\r\nKernel panic - not syncing\r\n", False),
        ("", False),
    ],
)
def test_kvm_must_run_linux_and_nest(console: str, *, kvm: bool) -> None:
    """Only a guest that booted and was offered svm or vmx speaks for KVM."""
    assert verdict_of(console).kvm is kvm
    assert verdict_of(console).reason


def test_a_closed_device_is_not_remembered(tmp_path: Path) -> None:
    """Where /dev/kvm cannot be opened nothing is tried and nothing is kept."""
    verdict = probe(Path("/none"), tmp_path / "kvm.json", tmp_path / "dev-kvm")

    assert not verdict.kvm
    assert not (tmp_path / "kvm.json").exists()
