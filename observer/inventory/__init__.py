# SPDX-License-Identifier: Apache-2.0
"""Which VMs, threads and back ends there are, as /proc shows them."""
