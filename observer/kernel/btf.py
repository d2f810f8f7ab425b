# SPDX-License-Identifier: Apache-2.0
"""Where the running kernel keeps a member of a struct, from its own BTF.

The programs that BCC compiles have no CO-RE and get these offsets as macros.
"""

from __future__ import annotations

import ctypes as c
import re
from typing import TYPE_CHECKING, Self

from observer.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from observer.kernel.libbpf import Libbpf

__all__ = ["KernelTypes", "offset_macros", "wanted_members"]

STRUCT, UNION = 4, 5  # include/uapi/linux/btf.h
BITS_PER_BYTE = 8


class _Type(c.Structure):
    """`struct btf_type`."""

    _fields_ = (("name", c.c_uint32), ("info", c.c_uint32), ("size", c.c_uint32))


class _Member(c.Structure):
    """`struct btf_member`."""

    _fields_ = (("name", c.c_uint32), ("type", c.c_uint32), ("offset", c.c_uint32))


class KernelTypes:
    """The types of the kernel, and of those of the modules that are loaded."""

    def __init__(self, libbpf: Libbpf, modules: Iterable[str]) -> None:
        self._libbpf = libbpf
        self._kernel = libbpf.btf__load_vmlinux_btf()
        if not self._kernel:
            raise HostError(
                "/sys/kernel/btf/vmlinux is missing, the kernel has no BTF: "
                "use one built with CONFIG_DEBUG_INFO_BTF."
            )
        loaded = (
            libbpf.btf__load_module_btf(m.encode(), self._kernel) for m in modules
        )
        self._modules = [btf for btf in loaded if btf]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for btf in (*self._modules, self._kernel):
            self._libbpf.btf__free(btf)

    def offset(self, type_name: str, member: str) -> int | None:
        """Bytes before a member; None where there is no such type or member."""
        for btf in (self._kernel, *self._modules):
            found = self._libbpf.btf__find_by_name_kind(btf, type_name.encode(), STRUCT)
            if found > 0:
                bits = self._find(btf, found, member)
                return None if bits is None else bits // BITS_PER_BYTE
        return None

    def _find(self, btf: int, type_id: int, name: str) -> int | None:
        """Bits before a member, which may lie in an anonymous struct or union."""
        address = self._libbpf.btf__type_by_id(btf, type_id)
        info = _Type.from_address(address).info
        if info >> 24 & 0x1F not in (STRUCT, UNION):
            return None
        bitfields = info >> 31
        members = (_Member * (info & 0xFFFF)).from_address(address + c.sizeof(_Type))
        for member in members:
            offset = member.offset & 0xFFFFFF if bitfields else member.offset
            given = self._libbpf.btf__name_by_offset(btf, member.name).decode()
            if given == name:
                return int(offset)
            inner = None if given else self._find(btf, member.type, name)
            if inner is not None:
                return int(offset) + inner
        return None


def wanted_members(source: str) -> list[tuple[str, str]]:
    """All that a source takes the offset of by AT(type, member)."""
    found = re.findall(r"\bAT\((\w+), (\w+)\)", source)
    return sorted(set(found) - {("type", "member")})


def offset_macros(types: KernelTypes, source: str) -> list[str]:
    """-D options for the members that the kernel has; the source asks by #ifdef."""
    offsets = {wanted: types.offset(*wanted) for wanted in wanted_members(source)}
    return [
        f"-DAT_{type_name}_{member}={offset}"
        for (type_name, member), offset in offsets.items()
        if offset is not None
    ]
