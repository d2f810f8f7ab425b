# SPDX-License-Identifier: Apache-2.0
"""Rings as their cells show them: what each is called, who serves it, and who owes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from observer.kernel.cells import RingFlag, RingKind
from observer.model import Ring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from observer.kernel.books import Books

__all__ = [
    "begin_to_read_anew",
    "detached_rings",
    "note_down",
    "owes",
    "owing_rings",
    "receive_rings",
    "ring_at",
    "ring_slots",
    "unread_rings",
]


def ring_slots(books: Books, vm_slot: int) -> list[int]:
    """Slots of a VM's rings."""
    return [int(s) - 1 for s in books.vms[vm_slot]["rings"] if s]


def _name(books: Books, slot: int) -> str:
    cell = books.rings[slot]
    if cell["kind"] == RingKind.USER:
        return f"the ring at doorbell {int(cell['doorbell']):#x}"
    role = "transmit" if cell["flags"] & RingFlag.SERVES_KICK else "receive"
    return f"{role} ring {int(cell['index'])}"


def ring_at(books: Books, slot: int) -> Ring:
    """The ring of a slot."""
    cell = books.rings[slot]
    return Ring(
        slot=slot,
        name=_name(books, slot),
        kick_id=int(cell["eventfd_id"]),
        call_id=int(cell["call_id"]),
        doorbell=int(cell["doorbell"]),
        server=int(cell["worker_tid"]),
        device=int(cell["device"]),
    )


def owes(books: Books, slot: int, since_ns: int) -> bool:
    """Say whether a debt that was open then is open still.

    vhost's own index tells at once that it was paid, the alarm closes it later.
    """
    cell = books.rings[slot]
    if not 0 < int(cell["since_ns"]) <= since_ns:
        return False  # a debt opened later is another one
    if cell["kind"] != RingKind.VHOST:
        return True
    known = books.look_at_ring(slot)
    return known and bool(cell["since_ns"] and cell["last_avail"] == cell["owed_from"])


def unread_rings(books: Books, vm_slot: int) -> list[int]:
    """Slots of the rings in which something lies that the guest does not consume."""
    if not books.vms[vm_slot]["unread"]:
        return []
    slots = ring_slots(books, vm_slot)
    return [slot for slot in slots if books.rings[slot]["unconsumed_ns"]]


def begin_to_read_anew(books: Books, vm_slot: int) -> None:
    """What lies in its rings now is not held against the guest."""
    for slot in unread_rings(books, vm_slot):
        books.rings[slot]["unconsumed_ns"] = 0
    books.vms[vm_slot]["unread"] = 0


def note_down(books: Books, vm_slot: int) -> None:
    """The guest does not want what lies in its rings; BPF sees when it does again."""
    for slot in unread_rings(books, vm_slot):
        books.rings[slot]["down"] = 1
    books.vms[vm_slot]["down"] = 1


def owing_rings(books: Books, vm_slot: int, since_ns: int) -> list[Ring]:
    """Rings of a VM whose back ends have owed service since this time."""
    slots = ring_slots(books, vm_slot)
    return [ring_at(books, slot) for slot in slots if owes(books, slot, since_ns)]


def _vhost_rings(books: Books, vm_slot: int) -> Iterator[int]:
    """Those that are there, each brought up to date."""
    for slot in ring_slots(books, vm_slot):
        if books.rings[slot]["kind"] == RingKind.VHOST and books.look_at_ring(slot):
            yield slot


def receive_rings(books: Books, vm_slot: int) -> list[Ring]:
    """Rings by which vhost now delivers to a guest, and can see what it consumes."""
    flags = books.rings["flags"]
    others = RingFlag.SERVES_KICK | RingFlag.PACKED
    wanted = RingFlag.LIVE | RingFlag.EVENT_IDX
    return [
        ring_at(books, slot)
        for slot in _vhost_rings(books, vm_slot)
        if flags[slot] & wanted == wanted and not flags[slot] & others
    ]


def detached_rings(books: Books, vm_slot: int) -> list[Ring]:
    """Rings that the VMM has taken from vhost, e.g. as their link is off."""
    return [
        ring_at(books, slot)
        for slot in _vhost_rings(books, vm_slot)
        if not books.rings[slot]["flags"] & RingFlag.LIVE
    ]
