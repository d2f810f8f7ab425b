# SPDX-License-Identifier: Apache-2.0
"""How BPF is loaded and its maps are read; no other package knows."""
