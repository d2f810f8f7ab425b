# SPDX-License-Identifier: Apache-2.0
"""`python -m observer` is the command `observer`."""

from observer.cli import main

if __name__ == "__main__":
    main()
