# SPDX-License-Identifier: Apache-2.0
"""The bench itself: guests that exit beside each tool, then quiet guests beside us."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from observer.bench.compare import BASE, Sample, interleaved
from observer.bench.daemons import daemon_pid
from observer.bench.exits_guest import exits_guest
from observer.bench.programs import Program, bpf_stats, programs_since, show
from observer.bench.quiet import DaemonCost, wait_until_settled, watch_quietly
from observer.config import Policy
from observer.demo.voice import observer_running
from observer.errors import ObserverError
from observer.guests.launch import GuestSpec
from observer.guests.linux import starting_guest, wait_for_guest
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from observer.bench.tool import Arm
    from observer.guests.images import GuestImage

__all__ = ["run_arm", "samples_of", "with_quiet_vms", "with_stats"]

QUIET_VMS = ("quiet1", "quiet2")
SEEN_SECONDS = 60.0
BATCHES = 20


def run_arm(arm: Arm, turn: int, image: Path, exits: int) -> Sample:
    """Start the tool, then the guest, and let it make its exits in batches."""
    with tempfile.TemporaryDirectory(prefix="observer-bench-") as made:
        folder, name = Path(made), f"exits{turn}"
        with (
            arm.start(folder) as tool,
            exits_guest(name, image, exits // BATCHES, folder / "qemu.log") as guest,
        ):
            tool.wait_until_sees(name)
            batches = [guest.make_exits() for _ in range(BATCHES)]
            done = sum(exits for exits, _ns in batches)
            took_ns = [ns for _exits, ns in batches]
            return Sample(arm.name, turn, done, took_ns, tool.count())


def samples_of(
    arms: Sequence[Arm],
    rounds: int,
    image: Path,
    exits: int,
    on_failure: Callable[[str, str], None],
) -> Iterator[Sample]:
    """Run every arm that can run here, in rounds; one that fails is out from then."""
    able = {arm.name: arm for arm in arms if arm.left_out is None}
    for turn, name in interleaved(list(able), rounds):
        if name not in able:
            continue
        try:
            yield run_arm(able[name], turn, image, exits)
        except ObserverError as e:
            if name == BASE:
                raise  # without it there is nothing to compare with
            on_failure(able.pop(name).name, e.message)


def _boot_quiet_vms(stack: ExitStack, image: GuestImage) -> None:
    specs = [GuestSpec(name, subnet=k) for k, name in enumerate(QUIET_VMS, start=1)]
    guests = [stack.enter_context(starting_guest(spec, image)) for spec in specs]
    for guest in guests:
        wait_for_guest(guest)


def with_quiet_vms(
    image: GuestImage, folder: Path, tell: Callable[[str], None]
) -> DaemonCost:
    """Measure the daemon at rest."""
    with ExitStack() as stack:
        tell(f"{len(QUIET_VMS)} Linux guests boot")
        _boot_quiet_vms(stack, image)
        voice = stack.enter_context(observer_running(folder / "observer.log"))
        for name in QUIET_VMS:
            wait_until(
                lambda vm=name: f"vm: {vm} " in voice.notes(),  # type: ignore[misc]
                SEEN_SECONDS,
                f"the observer saw {name}",
            )
        pid = daemon_pid()
        wait_until_settled(pid)
        tell("the daemon is looked at, the guests being quiet")
        return watch_quietly(pid, len(QUIET_VMS), voice.notes)


def with_stats(image: Path, exits: int, folder: Path) -> list[Program]:
    """Let the kernel time our programs, in a run of its own."""
    root = Policy().paths.bpffs
    with bpf_stats(), observer_running(folder / "observer-stats.log") as voice:
        before = show(root)
        with exits_guest("timed", image, exits, folder / "qemu.log") as guest:
            wait_until(
                lambda: "vm: timed " in voice.notes(), SEEN_SECONDS, "timed was seen"
            )
            guest.make_exits()
            return programs_since(before, show(root))
