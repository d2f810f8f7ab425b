# SPDX-License-Identifier: Apache-2.0
"""Where a Linux guest has its variables: read from its own memory.

A kernel carries the table behind `/proc/kallsyms` (kernel/kallsyms.c, and
scripts/kallsyms.c of Linux 6.1): names packed by a table of 256 tokens, and an address
for each.  So the guest need not be changed, nor say anything, nor be without KASLR.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np

from observer.errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

__all__ = [
    "KernelSymbols",
    "Memory",
    "banner_places",
    "known_symbols",
    "read_symbols",
    "symbols_of",
]

TOKENS = 256
TOKEN_TABLE_BYTES = 8192  # more than there ever are
# Digits are never packed, so each stands for itself in the table of tokens.
DIGITS = b"\x000\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00"
FIRST_DIGIT = ord("0")
MARKED = 256  # one name in so many has its place in the table of markers
LONG = 0x80  # a length of more than one byte
TABLES_BYTES = 8 << 20  # more than all tables before the tokens ever are
LEAST_SYMBOLS, MOST_SYMBOLS = 10_000, 1_000_000
LABEL_BYTES = 8  # what the tables are aligned to
BANNER, BANNER_BYTES = "linux_banner", 512
BANNER_BEGINS = b"Linux version "
TEXT_ALIGNED = 2 << 20  # CONFIG_PHYSICAL_ALIGN, and what KASLR moves by
HIGH_HALF = 0xFFFFFFFF


class Memory(Protocol):
    """The physical memory of a guest, as `mmap` or `bytes` have it."""

    def __getitem__(self, part: slice, /) -> bytes:
        """Some bytes of it."""
        ...

    def __len__(self) -> int:
        """How much there is."""
        ...

    def find(self, what: bytes, start: int, /) -> int:
        """Where the bytes are next; -1: nowhere."""
        ...


class KernelSymbols(msgspec.Struct, frozen=True):
    """Of one kernel: addresses as they are where KASLR does not move them."""

    banner: str
    """What the kernel says that it is: no two builds say the same."""
    addresses: dict[str, int]
    """A variable that each CPU has has an offset instead."""

    def place(self, name: str, banner_place: int) -> int:
        """The physical address of a static variable, given that of the banner."""
        return banner_place + self.addresses[name] - self.addresses[BANNER]


class _Tables(msgspec.Struct, frozen=True):
    """Of the kernel: an offset for each packed name, and what packs them."""

    base: int
    offsets: tuple[int, ...]
    names: list[bytes]
    tokens: list[bytes]


def _is_text(token: bytes) -> bool:
    return token.isascii() and token.decode().isprintable()


def _token_tables(memory: Memory) -> Iterator[tuple[int, list[bytes]]]:
    """Each place at which there may be a table of tokens."""
    digits = memory.find(DIGITS, 0)
    while digits >= 0:
        first = max(0, digits - TOKEN_TABLE_BYTES)
        # What is split ends in "", behind the end of the last token before "0".
        before = memory[first : digits + 1].split(b"\0")[-1 - FIRST_DIGIT : -1]
        start = digits + 1 - sum(len(token) + 1 for token in before)
        tokens = memory[start : start + TOKEN_TABLE_BYTES].split(b"\0", TOKENS)[:TOKENS]
        if len(tokens) == TOKENS and all(map(_is_text, tokens)):
            yield start, tokens
        digits = memory.find(DIGITS, digits + 1)


def _split(packed: bytes, count: int) -> tuple[list[bytes], int]:
    """So many names, each behind its length, and the length of all."""
    names, at = [], 0
    for _ in range(count):
        length = packed[at]
        at += 1
        if length & LONG:
            length = length & ~LONG | packed[at] << 7
            at += 1
        names.append(packed[at : at + length])
        at += length
    return names, at


def _tables_at(memory: Memory, header: int, tokens: list[bytes]) -> _Tables | None:
    """The tables round the base and the count; None: they are something else."""
    base, count = struct.unpack("<QQ", memory[header : header + 16])
    packed = memory[header + 16 : header + 16 + TABLES_BYTES]
    try:
        names, length = _split(packed, count)
        _, second_group = _split(packed, MARKED)
        markers = struct.unpack_from("<II", packed, length + -length % LABEL_BYTES)
    except (IndexError, struct.error):
        return None
    if markers != (0, second_group):
        return None
    offsets = header - 4 * count - 4 * count % LABEL_BYTES
    values = struct.unpack(f"<{count}i", memory[offsets : offsets + 4 * count])
    return _Tables(base, values, names, tokens)


def _tables_before(memory: Memory, end: int, tokens: list[bytes]) -> _Tables | None:
    """The tables that go with these tokens; None: they are no tokens.

    Each begins where it is aligned: an offset for each name, the base that they are
    relative to, the count, the names, the markers.
    """
    end -= end % LABEL_BYTES
    start = max(0, end - TABLES_BYTES)
    words = np.frombuffer(memory[start:end], np.uint64)
    is_base = (words[:-1] >> np.uint64(32)) == HIGH_HALF
    is_count = (words[1:] >= LEAST_SYMBOLS) & (words[1:] <= MOST_SYMBOLS)
    for k in np.flatnonzero(is_base & is_count)[::-1]:
        if found := _tables_at(memory, start + int(k) * LABEL_BYTES, tokens):
            return found
    return None


def _address(base: int, offset: int) -> int:
    """As CONFIG_KALLSYMS_ABSOLUTE_PERCPU has it."""
    return offset if offset >= 0 else base - 1 - offset


def _addresses(tables: _Tables, wanted: Collection[str]) -> dict[str, int]:
    tokens = tables.tokens
    names = (
        # The first letter is the kind that nm gives it.
        b"".join([tokens[k] for k in name])[1:].decode(errors="replace")
        for name in tables.names
    )
    return {
        name: _address(tables.base, offset)
        for name, offset in zip(names, tables.offsets, strict=True)
        if name in wanted
    }


def banner_places(memory: Memory) -> Iterator[tuple[int, str]]:
    """Where the kernel may say what it is, and what it says there."""
    place = memory.find(BANNER_BEGINS, 0)
    while place >= 0:
        text = memory[place : place + BANNER_BYTES].partition(b"\n")[0]
        yield place, text.decode(errors="replace")
        place = memory.find(BANNER_BEGINS, place + 1)


def read_symbols(memory: Memory, wanted: Collection[str]) -> KernelSymbols:
    """Look the names up in the table that the guest carries.  Raises ProgramError."""
    for start, tokens in _token_tables(memory):
        if (tables := _tables_before(memory, start, tokens)) is None:
            continue
        found = _addresses(tables, {*wanted, BANNER})
        if missing := sorted({*wanted, BANNER} - found.keys()):
            raise ProgramError(f"The guest's kernel has no {', '.join(missing)}.")
        for place, banner in banner_places(memory):
            if (found[BANNER] - place) % TEXT_ALIGNED == 0:
                return KernelSymbols(banner, found)
    raise ProgramError(
        "No table of symbols was found in the guest's memory: is it Linux 6.1?"
    )


def known_symbols(file: Path) -> list[KernelSymbols]:
    """Those that were read before; none where they cannot be understood."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[KernelSymbols])
    except (OSError, msgspec.DecodeError):
        return []


def _found(
    memory: Memory, known: Collection[KernelSymbols]
) -> tuple[KernelSymbols, int] | None:
    by_banner = {symbols.banner: symbols for symbols in known}
    for place, banner in banner_places(memory):
        symbols = by_banner.get(banner)
        if symbols and (symbols.addresses[BANNER] - place) % TEXT_ALIGNED == 0:
            return symbols, place
    return None


def symbols_of(
    memory: Memory, wanted: Collection[str], file: Path
) -> tuple[KernelSymbols, int]:
    """The guest's symbols, and where its banner lies; kept in the file for the next.

    Raises ProgramError.
    """
    known = [k for k in known_symbols(file) if {*wanted, BANNER} <= k.addresses.keys()]
    if found := _found(memory, known):
        return found
    new = read_symbols(memory, wanted)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.encode([*known, new]))
    found = _found(memory, [new])
    if found is None:
        raise ProgramError("The guest's kernel went away while it was read.")
    return found
