# SPDX-License-Identifier: Apache-2.0
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.testbed.protocol import (
    Ended,
    Failed,
    Job,
    Lines,
    Message,
    Ready,
    Signal,
    decode,
    encode,
)

ARGUMENTS = st.binary().map(os.fsdecode)
JOBS = st.builds(
    Job,
    argv=st.lists(ARGUMENTS, min_size=1).map(tuple),
    env=st.dictionaries(ARGUMENTS, ARGUMENTS),
    cwd=ARGUMENTS,
    modules=st.lists(ARGUMENTS).map(tuple),
    cpus=st.lists(st.integers(0, 4096)).map(tuple),
)
OTHERS = [Ready("6.1.0"), Signal(15), Ended(-9, 1, 2), Failed("no such module")]


@given(JOBS)
def test_a_job_survives_whatever_its_bytes(job: Job) -> None:
    """Arguments arrive as they were given: no shell, no encoding, no lines."""
    assert job == decode(encode(job).removesuffix(b"\n"))
    assert encode(job).count(b"\n") == 1


@pytest.mark.parametrize("message", OTHERS)
def test_every_other_message_survives(message: Message) -> None:
    """What one side encodes the other decodes."""
    assert message == decode(encode(message))


@pytest.mark.parametrize("line", [b"", b"{}", b'["job", {}]', b'["x", {}]', b"\xff"])
def test_refuses_what_is_no_message(line: bytes) -> None:
    """Noise on the control port is an error and never a message."""
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own errors count as well
        decode(line)


@given(st.lists(st.binary()), st.binary())
def test_lines_do_not_depend_on_how_they_were_read(
    reads: list[bytes], rest: bytes
) -> None:
    """Lines come out whole, however the stream was cut into reads."""
    stream = b"".join([*reads, rest])
    lines = Lines()

    found = [line for read in [*reads, rest] for line in lines.feed(read)]

    assert stream.split(b"\n")[:-1] == found
