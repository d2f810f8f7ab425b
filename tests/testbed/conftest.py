# SPDX-License-Identifier: Apache-2.0
"""The marker of those tests that start nested hosts themselves."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known to --strict-markers."""
    config.addinivalue_line(
        "markers",
        "testbed: starts nested hosts, some 20 s each; needs neither root nor KVM",
    )
