# SPDX-License-Identifier: Apache-2.0
"""Second looks: no suspicion becomes a verdict unless another source agrees."""
