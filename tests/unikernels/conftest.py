# SPDX-License-Identifier: Apache-2.0
import subprocess

import pytest

from observer.testbed.nested import checkout


@pytest.fixture(scope="session", autouse=True)
def _images():
    """Build the images, which takes a moment, or find them built."""
    argv = ["make", "-C", str(checkout() / "unikernels")]
    subprocess.run(argv, check=True, capture_output=True)
