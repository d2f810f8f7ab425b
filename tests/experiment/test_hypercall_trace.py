# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.errors import HostError
from observer.experiment.event_trace import TracePipe, events_in
from observer.experiment.hypercall_trace import (
    Hypercall,
    HypercallTrace,
    hypercall_trace,
    hypercalls_among,
)

if TYPE_CHECKING:
    from pathlib import Path

US = 1000
WORD = st.integers(0, 2**64 - 1)


def line(call: Hypercall, comm: str = "CPU 0/KVM") -> str:
    """As the kernel writes it."""
    seconds, micros = divmod(call.ns // US, 1_000_000)
    words = " ".join(f"a{k} {word:#x}" for k, word in enumerate(call.arguments))
    head = f"{comm:>16}-{call.thread:<7} [001] ...1. {seconds:5}.{micros:06}: "
    return f"{head}kvm_hypercall: nr {call.number:#x} {words}\n"


@given(
    st.lists(
        st.builds(
            Hypercall,
            st.integers(1, 1 << 22),
            st.integers(0, 1 << 40).map(lambda us: us * US),
            WORD,
            st.tuples(WORD, WORD, WORD, WORD),
        )
    ),
    st.lists(st.integers(1, 200), min_size=1),
)
def test_each_call_is_read_once_however_the_pipe_is_cut(
    calls: list[Hypercall], cuts: list[int]
) -> None:
    """A trace is read as it is written."""
    text = "".join(map(line, calls)).encode()[: 1 << 15]
    whole = text[: text.rfind(b"\n") + 1]
    ours, theirs = os.pipe2(os.O_NONBLOCK)
    trace, taken = HypercallTrace(TracePipe(ours)), []
    try:
        at = 0
        for cut in cuts:
            os.write(theirs, whole[at : at + cut])
            at += cut
            taken += trace.take()
        os.write(theirs, whole[at:])
        taken += trace.take()
    finally:
        os.close(ours)
        os.close(theirs)

    assert taken == calls[: len(taken)]
    assert len(taken) == whole.count(b"\n")


@pytest.mark.parametrize("comm", ["CPU 1/KVM", "a-17 [001] b", "x: y"])
def test_a_threads_name_may_be_anything(comm: str) -> None:
    """Its number is the one before the CPU's."""
    call = Hypercall(2741, 12_345_678_000, 0x50480002, (16, 1, 100, 0))

    assert hypercalls_among(events_in(line(call, comm))) == [call]


def test_where_nothing_is_traced_the_error_says_what_to_mount(tmp_path: Path) -> None:
    """It names the folder that cannot be made."""
    with (
        pytest.raises(HostError, match="mount -t tracefs"),
        hypercall_trace("ours", 1, tmp_path),
    ):
        pytest.fail("there is no tracefs")
