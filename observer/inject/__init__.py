# SPDX-License-Identifier: Apache-2.0
"""Breaks test guests on purpose, and knows to the millisecond when it did."""
