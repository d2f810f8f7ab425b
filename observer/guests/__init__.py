# SPDX-License-Identifier: Apache-2.0
"""Guests to inject faults into: an unmodified Linux, and a tiny one for counts."""
