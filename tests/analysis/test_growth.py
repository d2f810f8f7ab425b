# SPDX-License-Identifier: Apache-2.0
"""Growth with the number of VMs, on rows whose slope is known."""

from __future__ import annotations

import pandas as pd
import pytest

from observer.analysis.growth import bends, halves, slopes


def test_growth_is_of_quiet_vms_alone() -> None:
    """11 KiB a VM is found again, and no wake-ups are."""
    rows = [
        {
            "design": "sleeping",
            "run_id": f"{run}",
            "vms": vms,
            "late_share": late,
            "wakeups": 40 + 1000 * vms * late,
            "cpu_ms": 9.0 + vms * late,
            "rss_mib": 44.0 + run + vms * 11 / 1024,
            "suspicions": 0,
            "seconds": 10.0,
        }
        for run in range(3)
        for vms in (10, 100, 1000)
        for late in (0.0, 0.1)
    ]
    found = slopes(pd.DataFrame(rows))["sleeping"]

    assert found["rss_mib"].middle == pytest.approx(11 / 1024)
    assert found["wakeups_per_s"].middle == pytest.approx(0)
    assert bends(pd.DataFrame(rows))["sleeping"].middle == pytest.approx(0, abs=1e-9)
    first, last = halves(pd.DataFrame(rows))["sleeping"]
    assert first.middle == pytest.approx(last.middle) == pytest.approx(11 / 1024)
