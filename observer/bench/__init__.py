# SPDX-License-Identifier: Apache-2.0
"""What observing costs: per VM exit beside other tools, and the daemon at rest."""
