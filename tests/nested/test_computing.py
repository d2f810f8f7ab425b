# SPDX-License-Identifier: Apache-2.0
"""A guest that only computes neither halts nor kicks: what it consumes is its sign."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from observer.demo.voice import observer_running
from observer.guests.launch import GuestSpec
from observer.guests.linux import linux_guest
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from observer.guests.images import GuestImage

pytestmark = [pytest.mark.nested, pytest.mark.vm, pytest.mark.timeout(300)]

SEEN_SECONDS, COMPUTING_SECONDS = 60.0, 10.0
LEAST_ASKED = 8
"""Frames in that time; it is asked after half a second without a sign."""


def test_what_it_consumes_is_seen_without_a_second_look(
    image: GuestImage, tmp_path: Path
) -> None:
    """It is asked again and again, as its tap counts, and nobody reads its memory."""
    with (
        linux_guest(GuestSpec("counts", subnet=35), image) as guest,
        observer_running(tmp_path / "log") as voice,
    ):
        wait_until(lambda: "vm: counts " in voice.notes(), SEEN_SECONDS, "it was seen")
        guest.order("busy cpu")
        sent = Path(f"/sys/class/net/{guest.tap}/statistics/tx_packets")
        before, looks = int(sent.read_text()), voice.notes().count("refuted: counts")

        assert voice.wait(lambda _: True, COMPUTING_SECONDS) is None
        asked = int(sent.read_text()) - before
        looks = voice.notes().count("refuted: counts") - looks
        assert asked >= LEAST_ASKED
        assert looks <= asked / 4, voice.notes()
