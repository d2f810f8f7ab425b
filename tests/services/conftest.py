# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def kvm_for_everybody():
    """As udev leaves it, which a nested host does not have: services are nobody's."""
    Path("/dev/kvm").chmod(0o666)
