# SPDX-License-Identifier: Apache-2.0
"""What leaves the daemon: lines on a terminal, JSON lines, the socket's answers."""
