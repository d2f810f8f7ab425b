# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from observer.kernel.cells import RING, VM, RingFlag, RingKind
from observer.kernel.rings import (
    detached_rings,
    owing_rings,
    receive_rings,
    ring_at,
    ring_slots,
)

RECEIVE, TRANSMIT, DISK = 2, 5, 6
LIVE = RingFlag.LIVE | RingFlag.EVENT_IDX


@pytest.fixture
def books():
    """One VM with two rings of vhost's and one that a process serves."""
    made = SimpleNamespace(vms=np.zeros(1, VM), rings=np.zeros(8, RING), gone=set())
    made.vms[0]["rings"][:3] = RECEIVE + 1, TRANSMIT + 1, DISK + 1
    rings = made.rings
    rings["kind"][[RECEIVE, TRANSMIT]] = RingKind.VHOST
    rings["flags"][RECEIVE] = LIVE
    rings["flags"][TRANSMIT] = LIVE | RingFlag.SERVES_KICK
    rings["index"][TRANSMIT] = 1
    rings["kind"][DISK], rings["doorbell"][DISK] = RingKind.USER, 0xFE00
    made.look_at_ring = lambda slot: slot not in made.gone
    return made


def slots(rings):
    return [ring.slot for ring in rings]


def test_rings_have_names(books):
    """By what their guest does with them; a process's ring by where it is kicked."""
    names = [ring_at(books, slot).name for slot in ring_slots(books, 0)]

    assert names == ["receive ring 0", "transmit ring 1", "the ring at doorbell 0xfe00"]


def test_a_debt_is_owed_until_it_is_paid(books):
    """One that was opened later is another, and vhost's own index tells at once."""
    books.rings["since_ns"][[TRANSMIT, DISK]] = 100
    assert slots(owing_rings(books, 0, 100)) == [TRANSMIT, DISK]
    assert not owing_rings(books, 0, 99)

    books.rings["last_avail"][TRANSMIT] += 1
    assert slots(owing_rings(books, 0, 100)) == [DISK]


def test_a_ring_that_is_gone_owes_nothing(books):
    """Its VMM has freed it."""
    books.rings["since_ns"][TRANSMIT] = 100
    books.rings["flags"][TRANSMIT] = 0
    books.gone.add(TRANSMIT)

    assert not owing_rings(books, 0, 100)
    assert not detached_rings(books, 0)


def test_who_receives_and_shows_it(books):
    """Only by a ring that vhost serves, with EVENT_IDX, and not packed."""
    assert slots(receive_rings(books, 0)) == [RECEIVE]

    books.rings["flags"][RECEIVE] = LIVE | RingFlag.PACKED
    assert not receive_rings(books, 0)
    books.rings["flags"][RECEIVE] = RingFlag.LIVE
    assert not receive_rings(books, 0)


def test_what_the_vmm_has_taken_from_vhost_is_detached(books):
    """As those are whose link is off."""
    assert not detached_rings(books, 0)
    books.rings["flags"][RECEIVE] = RingFlag.EVENT_IDX

    assert slots(detached_rings(books, 0)) == [RECEIVE]
