# SPDX-License-Identifier: Apache-2.0
"""Loops: from a verdict to an outcome, in the order of who uses whom."""
