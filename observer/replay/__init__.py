# SPDX-License-Identifier: Apache-2.0
"""What a host's debts were like, kept, and judged again by other limits."""
