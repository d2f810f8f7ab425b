# SPDX-License-Identifier: Apache-2.0
import pytest

from observer.bench.exits_guest import parse_result
from observer.errors import ProgramError


def test_the_guest_says_how_many_exits_took_how_long():
    """Both numbers are hexadecimal, since a guest of 60 lines divides nothing."""
    line = "exits=0000000000004e20 ns=000000000ee6b280\r\n"

    assert parse_result(line) == (20_000, 250_000_000)


def test_anything_else_is_an_error_that_shows_it():
    """What the guest said instead is in the message."""
    with pytest.raises(ProgramError, match="panic"):
        parse_result("panic")
