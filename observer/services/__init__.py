# SPDX-License-Identifier: Apache-2.0
"""The service VMs of Phoenix on KVM, as the host sees them."""
