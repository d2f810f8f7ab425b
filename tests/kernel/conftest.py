# SPDX-License-Identifier: Apache-2.0
"""Chooses by the kernel that runs: where BCC cannot compile, that is what is tested."""

from observer.doctor.host import this_host
from observer.doctor.loaders import bcc_headers

_REFUSED = bcc_headers(this_host()).state == "missing"

collect_ignore = ["test_two_designs.py" if _REFUSED else "test_bcc_refused.py"]
