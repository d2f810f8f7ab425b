# SPDX-License-Identifier: Apache-2.0
"""Experiments: designs of observers against each other, the same faults, one load."""
