# SPDX-License-Identifier: Apache-2.0
"""What comes after measuring: run folders to frames, tables, pages and notebooks.

Nothing here looks at a live host.
"""
