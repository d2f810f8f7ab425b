# SPDX-License-Identifier: Apache-2.0
"""What Linux guests do while they are observed, and how well they do it."""
