# SPDX-License-Identifier: Apache-2.0
"""The distribution's libbpf.so.1, through ctypes: open, set knobs, load, attach, pin.

An object passes four steps, as in libbpf-bootstrap: open, set `.rodata`, load, attach.
What libbpf says meanwhile is kept, so that an error can quote the verifier.
"""

from __future__ import annotations

import ctypes as c
import errno
import os
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from observer.errors import HostError, ProgramError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["BpfObject", "Libbpf", "RingBuffer"]

BTF_KIND_DATASEC = 15
OLDEST = (1, 0)
QUOTED_LINES = 12
RUN_BY_USER = (b"syscall", b"raw_tp")  # raw_tp without a tracepoint's name

_PRINT = c.CFUNCTYPE(c.c_int, c.c_int, c.c_char_p, c.c_void_p)
_SAMPLE = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.c_size_t)

# name: (result, arguments); what is not here may not be called.
_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "libbpf_major_version": (c.c_uint32, []),
    "libbpf_minor_version": (c.c_uint32, []),
    "libbpf_set_print": (c.c_void_p, [_PRINT]),
    "bpf_object__open_file": (c.c_void_p, [c.c_char_p, c.c_void_p]),
    "bpf_object__load": (c.c_int, [c.c_void_p]),
    "bpf_object__close": (None, [c.c_void_p]),
    "bpf_object__btf": (c.c_void_p, [c.c_void_p]),
    "bpf_object__next_program": (c.c_void_p, [c.c_void_p, c.c_void_p]),
    "bpf_object__find_map_by_name": (c.c_void_p, [c.c_void_p, c.c_char_p]),
    "bpf_program__name": (c.c_char_p, [c.c_void_p]),
    "bpf_program__section_name": (c.c_char_p, [c.c_void_p]),
    "bpf_program__fd": (c.c_int, [c.c_void_p]),
    "bpf_program__pin": (c.c_int, [c.c_void_p, c.c_char_p]),
    "bpf_prog_test_run_opts": (c.c_int, [c.c_int, c.c_void_p]),
    "bpf_program__attach": (c.c_void_p, [c.c_void_p]),
    "bpf_link__pin": (c.c_int, [c.c_void_p, c.c_char_p]),
    "bpf_link__destroy": (c.c_int, [c.c_void_p]),
    "bpf_map__fd": (c.c_int, [c.c_void_p]),
    "bpf_map__initial_value": (c.c_void_p, [c.c_void_p, c.POINTER(c.c_size_t)]),
    "btf__find_by_name_kind": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_uint32]),
    "btf__type_by_id": (c.c_void_p, [c.c_void_p, c.c_uint32]),
    "btf__name_by_offset": (c.c_char_p, [c.c_void_p, c.c_uint32]),
    "btf__load_vmlinux_btf": (c.c_void_p, []),
    "btf__load_module_btf": (c.c_void_p, [c.c_char_p, c.c_void_p]),
    "btf__free": (None, [c.c_void_p]),
    "bpf_obj_get": (c.c_int, [c.c_char_p]),
    "bpf_obj_pin": (c.c_int, [c.c_int, c.c_char_p]),
    "bpf_map_update_elem": (c.c_int, [c.c_int, c.c_void_p, c.c_void_p, c.c_uint64]),
    "bpf_map_lookup_elem": (c.c_int, [c.c_int, c.c_void_p, c.c_void_p]),
    "bpf_map_lookup_and_delete_elem": (c.c_int, [c.c_int, c.c_void_p, c.c_void_p]),
    "bpf_map_delete_elem": (c.c_int, [c.c_int, c.c_void_p]),
    "bpf_map_lookup_batch": (
        c.c_int,
        [
            c.c_int,
            c.c_void_p,
            c.c_void_p,
            c.c_void_p,
            c.c_void_p,
            c.c_void_p,
            c.c_void_p,
        ],
    ),
    "ring_buffer__new": (c.c_void_p, [c.c_int, _SAMPLE, c.c_void_p, c.c_void_p]),
    "ring_buffer__epoll_fd": (c.c_int, [c.c_void_p]),
    "ring_buffer__consume": (c.c_int, [c.c_void_p]),
    "ring_buffer__free": (None, [c.c_void_p]),
}


class _OpenOptions(c.Structure):
    """`struct bpf_object_open_opts` of libbpf 1.0; newer ones only grow."""

    _fields_ = (
        ("sz", c.c_size_t),
        ("object_name", c.c_char_p),
        ("relaxed_maps", c.c_bool),
        ("pin_root_path", c.c_char_p),
        ("unused", c.c_uint32),
        ("kconfig", c.c_char_p),
        ("btf_custom_path", c.c_char_p),
        ("kernel_log_buf", c.c_char_p),
        ("kernel_log_size", c.c_size_t),
        ("kernel_log_level", c.c_uint32),
    )


class _RunOptions(c.Structure):
    """`struct bpf_test_run_opts` of libbpf 1.0."""

    _fields_ = (
        ("sz", c.c_size_t),
        ("data_in", c.c_void_p),
        ("data_out", c.c_void_p),
        ("data_size_in", c.c_uint32),
        ("data_size_out", c.c_uint32),
        ("ctx_in", c.c_void_p),
        ("ctx_out", c.c_void_p),
        ("ctx_size_in", c.c_uint32),
        ("ctx_size_out", c.c_uint32),
        ("retval", c.c_uint32),
        ("repeat", c.c_int),
        ("duration", c.c_uint32),
        ("flags", c.c_uint32),
        ("cpu", c.c_uint32),
        ("batch_size", c.c_uint32),
    )


class _BtfType(c.Structure):
    _fields_ = (("name_off", c.c_uint32), ("info", c.c_uint32), ("size", c.c_uint32))


class _VarSecinfo(c.Structure):
    _fields_ = (("type", c.c_uint32), ("offset", c.c_uint32), ("size", c.c_uint32))


class Libbpf:
    """The library, its prototypes set and its messages kept.

    Raises `HostError` where it is missing or older than 1.0.
    """

    def __init__(self, library: str = "libbpf.so.1") -> None:
        try:
            self._lib = c.CDLL(library, use_errno=True)
        except OSError as e:
            raise HostError(
                f"{library} cannot be opened ({e}): install it (apt install libbpf1)."
            ) from e
        for name, (result, arguments) in _PROTOTYPES.items():
            try:
                function = getattr(self._lib, name)
            except AttributeError as e:
                raise HostError(
                    f"{library} is older than 1.0, it has no {name}: "
                    "install a newer one (apt install libbpf1)."
                ) from e
            function.restype, function.argtypes = result, arguments
        self.version = (
            self._lib.libbpf_major_version(),
            self._lib.libbpf_minor_version(),
        )
        self.messages: deque[str] = deque(maxlen=2000)
        self._format = c.CDLL(None).vsnprintf
        self._format.argtypes = [c.c_char_p, c.c_size_t, c.c_char_p, c.c_void_p]
        # ctypes keeps no reference to a callback: libbpf would call freed code
        self._on_print = _PRINT(self._keep)
        self._lib.libbpf_set_print(self._on_print)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in _PROTOTYPES:
            raise AttributeError(name)
        return getattr(self._lib, name)  # type: ignore[no-any-return]

    def _keep(self, level: int, pattern: bytes, arguments: int) -> int:
        if level <= 1:  # LIBBPF_WARN, LIBBPF_INFO
            # a verifier's log comes in one piece
            text = c.create_string_buffer(64 * 1024)
            self._format(text, len(text), pattern, arguments)
            self.messages.extend(text.value.decode(errors="replace").splitlines())
        return 0

    def said(self) -> str:
        """Join the last lines that libbpf or the verifier printed."""
        last = list(self.messages)[-QUOTED_LINES:]
        return " | ".join(line for line in last if line)

    def get_pinned(self, path: Path) -> int | None:
        """Open a pinned map or link; None where nothing is pinned there."""
        fd = self.bpf_obj_get(os.fsencode(path))
        return None if fd < 0 else int(fd)

    def run(self, program_fd: int, argument: bytes) -> bytes:
        """Run a program that is attached nowhere; its argument as it left it."""
        context = c.create_string_buffer(argument, len(argument))
        options = _RunOptions(
            sz=c.sizeof(_RunOptions),
            ctx_in=c.addressof(context),
            ctx_size_in=len(argument),
        )
        if self.bpf_prog_test_run_opts(program_fd, c.byref(options)):
            reason = os.strerror(c.get_errno())
            raise ProgramError(f"A BPF program cannot be run ({reason}).")
        return context.raw

    def entries(
        self, map_fd: int, key: np.dtype[Any], value: np.dtype[Any], limit: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Keys and values of a hash that holds at most so many; one system call."""
        keys, values = np.zeros(limit, key), np.zeros(limit, value)
        count, next_bucket = c.c_uint32(limit), c.c_uint32()
        failed = self.bpf_map_lookup_batch(
            *(map_fd, None, c.byref(next_bucket), keys.ctypes.data, values.ctypes.data),
            *(c.byref(count), None),
        )
        if failed and c.get_errno() != errno.ENOENT:  # which says: that was all
            reason = os.strerror(c.get_errno())
            raise ProgramError(f"A BPF map cannot be read ({reason}).")
        return keys[: count.value], values[: count.value]


class BpfObject:
    """One `.bpf.o`; open on construction."""

    def __init__(self, libbpf: Libbpf, path: Path, pin_root: Path | None) -> None:
        self._libbpf, self.path = libbpf, path
        self._root = None if pin_root is None else os.fsencode(pin_root)
        options = _OpenOptions(sz=c.sizeof(_OpenOptions), pin_root_path=self._root)
        self._object = libbpf.bpf_object__open_file(os.fsencode(path), c.byref(options))
        if not self._object:
            raise self._error("cannot be opened")

    def _error(self, what: str) -> ProgramError:
        reason = os.strerror(c.get_errno())
        said = self._libbpf.said()
        return ProgramError(
            f"{self.path.name} {what} ({reason}); libbpf said: {said or 'nothing'}. "
            "See `observer doctor` for what this kernel lacks."
        )

    def knobs(self) -> dict[str, tuple[int, int]]:
        """Name -> (offset, bytes) of the variables in `.rodata`."""
        libbpf, btf = self._libbpf, self._libbpf.bpf_object__btf(self._object)
        section = libbpf.btf__find_by_name_kind(btf, b".rodata", BTF_KIND_DATASEC)
        if section < 0:
            return {}
        address = libbpf.btf__type_by_id(btf, section)
        count = _BtfType.from_address(address).info & 0xFFFF
        variables = (_VarSecinfo * count).from_address(address + c.sizeof(_BtfType))
        found = {}
        for variable in variables:
            kind = _BtfType.from_address(libbpf.btf__type_by_id(btf, variable.type))
            name = libbpf.btf__name_by_offset(btf, kind.name_off).decode()
            found[name] = (variable.offset, variable.size)
        return found

    def set_knobs(self, values: Mapping[str, int]) -> None:
        """Set `const volatile` variables by name; before `load`.

        Names that this object does not have are for its siblings.
        """
        known = self.knobs()
        rodata = self._libbpf.bpf_object__find_map_by_name(self._object, b".rodata")
        size = c.c_size_t()
        address = (
            self._libbpf.bpf_map__initial_value(rodata, c.byref(size)) if rodata else 0
        )
        for name, value in values.items():
            if name in known:
                offset, size_bytes = known[name]
                c.memmove(
                    address + offset, value.to_bytes(size_bytes, "little"), size_bytes
                )

    def load(self) -> None:
        """Give it to the kernel; `ProgramError` quotes the verifier."""
        self._libbpf.messages.clear()
        if self._libbpf.bpf_object__load(self._object):
            raise self._error("was refused by the kernel")

    def programs(self) -> dict[str, int]:
        """Name -> handle of each program."""
        found: dict[str, int] = {}
        program = None
        while program := self._libbpf.bpf_object__next_program(self._object, program):
            found[self._libbpf.bpf_program__name(program).decode()] = program
        return found

    def program_fd(self, name: str) -> int:
        """Descriptor of a loaded program."""
        return int(self._libbpf.bpf_program__fd(self.programs()[name]))

    def map_fd(self, name: str) -> int:
        """Descriptor of a map, once it is loaded."""
        found = self._libbpf.bpf_object__find_map_by_name(self._object, name.encode())
        if not found:
            raise ProgramError(f"{self.path.name} has no map {name}.")
        return int(self._libbpf.bpf_map__fd(found))

    def attach(self, pin_folder: Path | None) -> list[int]:
        """Attach every program; all or none.

        With a folder the links are pinned in it and outlive us; else they are returned
        and die with `detach`.  A program that only user space runs is pinned itself.
        """
        links: list[int] = []
        for name, program in self.programs().items():
            if self._libbpf.bpf_program__section_name(program) in RUN_BY_USER:
                if pin_folder is not None:
                    self._libbpf.bpf_program__pin(
                        program, os.fsencode(pin_folder / name)
                    )
                continue
            link = self._libbpf.bpf_program__attach(program)
            if not link:
                error = self._error(f"has a program, {name}, that does not attach")
                self.detach(links)
                raise error
            links.append(link)
            if pin_folder is not None and self._libbpf.bpf_link__pin(
                link, os.fsencode(pin_folder / name)
            ):
                error = self._error(f"has a link, {name}, that cannot be pinned")
                self.detach(links)
                raise error
        return links

    def detach(self, links: list[int]) -> None:
        """Give links back; pinned ones stay attached."""
        while links:
            self._libbpf.bpf_link__destroy(links.pop())

    def close(self) -> None:
        """Give back what user space holds of it."""
        if self._object:
            self._libbpf.bpf_object__close(self._object)
            self._object = None


class RingBuffer:
    """Takes samples out of a BPF ring buffer."""

    def __init__(
        self, libbpf: Libbpf, map_fd: int, on_sample: Callable[[bytes], None]
    ) -> None:
        def forward(_context: int, data: int, size: int) -> int:
            on_sample(c.string_at(data, size))
            return 0

        self._libbpf = libbpf
        self._forward = _SAMPLE(forward)  # kept: see Libbpf
        self._ring = libbpf.ring_buffer__new(map_fd, self._forward, None, None)
        if not self._ring:
            raise ProgramError(
                f"The ring buffer cannot be mapped ({os.strerror(c.get_errno())}): "
                "is another program using it?"
            )

    def fileno(self) -> int:
        """For epoll: readable when something asked for a wake-up."""
        return int(self._libbpf.ring_buffer__epoll_fd(self._ring))

    def consume(self) -> int:
        """Take all there is; returns how many."""
        return int(self._libbpf.ring_buffer__consume(self._ring))

    def close(self) -> None:
        """Unmap it."""
        if self._ring:
            self._libbpf.ring_buffer__free(self._ring)
            self._ring = None
