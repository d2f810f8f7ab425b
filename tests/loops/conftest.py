# SPDX-License-Identifier: Apache-2.0
"""A host whose services are objects and whose time passes only when all wait."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

import pytest

from observer.clock import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class _Jump(selectors.SelectSelector):
    """Does not wait: it moves the clock on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if ready := super().select(0):
            return ready
        assert timeout is not None, "all wait for something that cannot come"
        self.now += max(timeout, 1e-6)
        return super().select(0)


class VirtualTime(asyncio.SelectorEventLoop):
    """An event loop in which a minute takes a millisecond."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now

    def now_ns(self) -> int:
        return round(self._jump.now * SECOND)


@pytest.fixture(scope="session")
def in_virtual_time() -> Callable[
    [Callable[[VirtualTime], Coroutine[Any, Any, None]]], None
]:
    """Run a coroutine in a loop that it is given."""

    def run(main: Callable[[VirtualTime], Coroutine[Any, Any, None]]) -> None:
        loop = VirtualTime()
        try:
            loop.run_until_complete(main(loop))
        finally:
            loop.close()

    return run
