# SPDX-License-Identifier: Apache-2.0
"""What nobody here repairs is told to somebody else, however long that takes."""
