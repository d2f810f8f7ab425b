# SPDX-License-Identifier: Apache-2.0
"""The repair graph: who uses whom, by name patterns.

A node is mended only when all that it uses, at whatever distance, is healthy (Phoenix,
DSN 2020, section 3).
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["RepairGraph", "find_cycle"]


class RepairGraph:
    """Edges from patterns of users to patterns of what they use; without a cycle."""

    def __init__(self, uses: Mapping[str, tuple[str, ...]]) -> None:
        self._uses = uses

    def is_user(self, name: str) -> bool:
        """Whether a VM uses any other."""
        return next(_next(self._uses, name), None) is not None

    def uses(self, name: str, names: Iterable[str]) -> set[str]:
        """Which of `names` a VM uses, at whatever distance."""
        reached = _reached(self._uses, name)
        return {
            other
            for other in names
            if other != name and any(fnmatchcase(other, p) for p in reached)
        }


def _next(uses: Mapping[str, tuple[str, ...]], node: str) -> Iterator[str]:
    """What a name, or all that a pattern may stand for, uses."""
    for user, used in uses.items():
        if fnmatchcase(node, user) or fnmatchcase(user, node):
            yield from used


def _reached(uses: Mapping[str, tuple[str, ...]], start: str) -> set[str]:
    reached: set[str] = set()
    todo = list(_next(uses, start))
    while todo:
        node = todo.pop()
        if node not in reached:
            reached.add(node)
            todo += _next(uses, node)
    return reached


def find_cycle(uses: Mapping[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    """A way from a node back to it, e.g. ("net", "store", "net"); None: there is none.

    Two patterns count as the same node where one matches the other, so that no name
    can close a cycle that was not found here.
    """
    done: set[str] = set()

    def walk(path: tuple[str, ...]) -> tuple[str, ...] | None:
        for node in _next(uses, path[-1]):
            for k, before in enumerate(path):
                if fnmatchcase(node, before) or fnmatchcase(before, node):
                    return (*path[k:], node)
            if node not in done and (found := walk((*path, node))):
                return found
        done.add(path[-1])
        return None

    return next((found for node in uses if (found := walk((node,)))), None)
