# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct

import pytest
from kernel_symbols import read_symbols, symbols_of

from observer.errors import ProgramError

BASE = 0xFFFFFFFF81000000
MOVED_BY_KASLR = 0x2A00000
BANNER = "Linux version 6.1.0-test (us) #1 SMP"
BANNER_PLACE = 0x800
TEXT_PLACE = 2 << 20
PER_CPU = {"tick_cpu_device": 0x233F0, "steal_time": 0x33080}
STATIC = {"jiffies_64": BASE + 0x3000, "linux_banner": BASE + BANNER_PLACE}
WANTED = (*PER_CPU, "jiffies_64")


def tokens():
    """Letters stand for themselves; one token is for two of them."""
    table = [bytes([k]) if 33 <= k < 127 else b"~%d" % k for k in range(256)]
    table[0x80] = b"if"
    return table


def aligned(data):
    return data + b"\0" * (-len(data) % 8)


def packed(name):
    body = name.replace(b"if", b"\x80")
    length = len(body)
    return (
        bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
    ) + body


def tables(base, *, with_seqs):
    """As `scripts/kallsyms.c` writes them."""
    symbols = [(b"Dfiller_%d" % k, BASE + 16 * k) for k in range(12_000)]
    symbols += [(b"A" + name.encode(), value) for name, value in PER_CPU.items()]
    symbols += [(b"D" + name.encode(), value) for name, value in STATIC.items()]
    symbols += [(b"t" + b"long" * 60, BASE)]
    offsets = [v if v < 1 << 31 else BASE - 1 - v for _, v in symbols]
    names = [packed(name) for name, _ in symbols]
    markers = [len(b"".join(names[:k])) for k in range(0, len(names), 256)]
    parts = [
        struct.pack(f"<{len(offsets)}i", *offsets),
        struct.pack("<Q", base),
        struct.pack("<I", len(symbols)),
        b"".join(names),
        struct.pack(f"<{len(markers)}I", *markers),
        *([b"\1\2\3" * len(symbols)] if with_seqs else []),
        b"".join(token + b"\0" for token in tokens()),
    ]
    return b"".join(map(aligned, parts))


def memory(base=BASE, *, with_seqs=True, banner=BANNER):
    """A guest's, with a copy of the banner where its log is, and of the digits."""
    log = f"{banner}\n".encode().ljust(0x1000, b"\0")
    digits = b"".join(b"%d\0" % k for k in range(10)).ljust(0x1000, b"\0")
    text = bytearray(1 << 20)
    text[BANNER_PLACE : BANNER_PLACE + len(log)] = log
    return (
        (log + digits).ljust(TEXT_PLACE, b"\0")
        + text
        + tables(base, with_seqs=with_seqs)
    )


@pytest.mark.parametrize("with_seqs", [False, True])
@pytest.mark.parametrize("moved", [0, MOVED_BY_KASLR])
def test_names_are_found_wherever_the_kernel_lies(moved, with_seqs):
    """The early table of Linux 6.1, and that of its later stable releases."""
    found = read_symbols(memory(BASE + moved, with_seqs=with_seqs), WANTED)

    assert found.banner == BANNER
    assert {name: found.addresses[name] for name in PER_CPU} == PER_CPU
    assert found.addresses["jiffies_64"] == STATIC["jiffies_64"] + moved
    assert found.place("jiffies_64", 0x100) == 0x100 + 0x3000 - BANNER_PLACE


def test_the_second_guest_of_a_kernel_is_known(tmp_path):
    """The file is enough, if only the banner is the same."""
    file = tmp_path / "build/symbols.json"
    first = symbols_of(memory(), WANTED, file)
    bare = memory()[: TEXT_PLACE + 0x2000]

    assert first[1] == TEXT_PLACE + BANNER_PLACE
    assert symbols_of(bare, WANTED, file) == first
    with pytest.raises(ProgramError, match="No table"):
        symbols_of(
            memory(banner="Linux version 7")[: TEXT_PLACE + 0x2000], WANTED, file
        )


def test_a_kernel_without_a_variable_is_refused():
    """By the name that it lacks."""
    with pytest.raises(ProgramError, match="has no panic_cpu"):
        read_symbols(memory(), (*WANTED, "panic_cpu"))


@pytest.mark.parametrize("what", [b"", b"\0" * 65536, bytes(range(256)) * 4096])
def test_memory_without_a_kernel_is_refused(what):
    """A guest that is no Linux, or has not unpacked it yet."""
    with pytest.raises(ProgramError, match="No table"):
        read_symbols(what, WANTED)


def test_a_file_that_cannot_be_read_is_made_anew(tmp_path):
    """A run that was cut off leaves half a file."""
    file = tmp_path / "symbols.json"
    file.write_text("[{")

    symbols_of(memory(), WANTED, file)
    assert symbols_of(memory()[: TEXT_PLACE + 0x2000], WANTED, file)
