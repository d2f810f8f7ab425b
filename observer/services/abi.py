# SPDX-License-Identifier: Apache-2.0
"""What a service VM and its host say to each other: `unikernels/include/guest_abi.h`.

The header is the truth: its numbers are read from it.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from observer.errors import ProgramError

__all__ = ["Abi", "header", "parse_header"]

_NUMBER = re.compile(r"^#define\s+(ABI_\w+)\s+(0x[0-9a-fA-F]+|\d+)\b", re.MULTILINE)


def header() -> Path:
    """The C header: in the package where it was installed, else in the checkout."""
    package = Path(str(files("observer")))
    places = (package / "services", package.parent / "unikernels/include")
    found = (place / "guest_abi.h" for place in places)
    return next(path for path in found if path.is_file())


def parse_header(text: str) -> dict[str, int]:
    """Names, without ABI_, to numbers."""
    return {
        name.removeprefix("ABI_"): int(value, 0)
        for name, value in _NUMBER.findall(text)
    }


class Abi:
    """The numbers of one header."""

    def __init__(self, numbers: dict[str, int]) -> None:
        self._numbers = numbers
        prefix = "SERVICE_"
        self._services = {
            number: name.removeprefix(prefix).lower()
            for name, number in numbers.items()
            if name.startswith(prefix)
        }

        self._parts = self._part_names()

    def _part_names(self) -> dict[tuple[int, int], str]:
        """Of the names that begin with a service's, e.g. NET_NIC: its parts."""
        return {
            (service, number): name.removeprefix(prefix).lower()
            for service, title in self._services.items()
            for name, number in self._numbers.items()
            if name.startswith(prefix := f"{title.upper()}_")
        }

    def service_name(self, number: int) -> str:
        """What a service is called."""
        return self._services.get(number, f"service-{number}")

    def part_name(self, service: int, number: int) -> str:
        """What a part of a service is called."""
        return self._parts.get((service, number), f"part-{number}")

    @classmethod
    def of_header(cls) -> Abi:
        """Those that the images were built with."""
        return cls(parse_header(header().read_text()))

    def check_version(self, said: list[str]) -> None:
        """Refuse an image whose answer to `version` names another; it may greet first.

        Raises ProgramError.
        """
        ours = self["VERSION"]
        if said[-1:] != [f"version {ours}"]:
            raise ProgramError(
                f"The image says {' '.join(said)!r}, this observer speaks version "
                f"{ours} of the guest ABI: build the images again (make unikernels)."
            )

    def __getitem__(self, name: str) -> int:
        return self._numbers[name]
