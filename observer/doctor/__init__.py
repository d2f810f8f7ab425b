# SPDX-License-Identifier: Apache-2.0
"""What this host offers to the observer, what will work on it, what to install.

Every check takes a `Host` and gives one `Finding`; `report` joins them.
"""
