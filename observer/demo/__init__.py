# SPDX-License-Identifier: Apache-2.0
"""Break live VMs on purpose, and let them be, and see what the observer says."""
