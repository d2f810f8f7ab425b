# SPDX-License-Identifier: Apache-2.0
"""What stands on the host during an experiment: services, a Linux guest, its streams.

The guest boots once and lives through all runs.  Its network goes through `net`, or
straight to the host where `net` is no part of the experiment; its disk is the AoE
device of `disk`, or a file of its own.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from observer.errors import ProgramError, UsageError
from observer.experiment.guest_load import Seen, take_seen
from observer.experiment.moment import fault_trace
from observer.experiment.streams import (
    DATAGRAM_PORT,
    LOOK_SECONDS,
    STREAM_PORT,
    ByteStream,
    Datagrams,
    in_namespace,
)
from observer.experiment.writers import Writers
from observer.guests.launch import GuestSpec
from observer.guests.linux import starting_guest, wait_for_guest
from observer.guests.programs import with_programs
from observer.guests.traffic import host, ip
from observer.guests.waiting import wait_until
from observer.services.folder import RUNTIME
from observer.services.images import ETC, images_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from observer.experiment.moment import FaultTrace
    from observer.guests.guest import Guest
    from observer.guests.images import GuestImage

__all__ = ["SERVICES", "Scene", "images_text", "own_images", "scene", "service"]

SERVICES = {
    "net-failure": ("net",),
    "disk-failure": ("disk",),
    "all-failure": ("net", "disk"),
}
SPEC = GuestSpec("study", subnet=79)
MEMORY_WITH_FIO_MIB = 512
NAMESPACE = "study-outside"
RUN = Path("/run")  # what lies there is quick to read and gone after a boot
DISK, DISK_MIB = "disk.img", 64
NO_FILE = Path("/nonexistent")
DEVICE = Path("/dev/etherd/e0.0")
SERVICE_SECONDS = 300.0
BOOT_SECONDS = 300.0
# The numbered blocks have the first MiB.
FIO = (
    "fio --name=v --filename=/dev/vda --rw=randwrite --bs=4k --offset=8M --size=4M "
    "--ioengine=psync --direct=1 --verify=crc32c --verify_backlog=16 --verify_fatal=1 "
    "--rate_iops=20 --time_based --runtime=86400 --minimal"
)
FIO_ENDED = "fio ended with"
FIO_SAYS = re.compile(rf"^(fio: |verify: |{FIO_ENDED})|bad |received|expected")
FIO_WORDS = 200  # of each line
START = """\
mkdir -p /tmp
echo 3600000 >/proc/sys/net/ipv4/neigh/eth0/base_reachable_time_ms
{load} {peer} {period_us} {disk} >/dev/ttyS0 2>&1 &
"""


@dataclass
class Scene:
    """All of it, as runs use it."""

    services: tuple[str, ...]
    guest: Guest
    datagrams: Datagrams
    stream: ByteStream
    writers: Writers | None
    folder: Path
    namespace: str | None
    trace: FaultTrace

    def take_seen(self, *, anew: bool = False) -> Seen:
        """What the guest saw since it was asked last."""
        return take_seen(self.namespace, SPEC.guest_address, anew=anew)

    def verify_error(self) -> str | None:
        """What fio said, where it runs no more: it ends with its first error."""
        lines = self.guest.console().splitlines()
        if not any(FIO_ENDED in line for line in lines):
            return None
        said = (line.strip()[:FIO_WORDS] for line in lines if FIO_SAYS.search(line))
        return "; ".join(said)

    def start(self, *, spare: bool) -> None:
        """Have the services up, with leave to break them."""
        _write_images(self.folder, spare=spare)
        service("up", *self.services)

    def end(self) -> None:
        """Take them away, with all that they had in hand."""
        service("down", *self.services)


def service(*words: str) -> None:
    """`observer service`, which must end well."""
    argv = [sys.executable, "-m", "observer", "service", *words]
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=SERVICE_SECONDS
    )
    if done.returncode:
        raise ProgramError(f"{' '.join(words)}: {done.stderr.strip()[-300:]}")


def images_text(came: str, disk: Path, *, spare: bool, words: str = "") -> str:
    """The services as they came, with leave to break them, on a disk of our own.

    `words` are more of them for `net`.
    """
    text = came.replace("[net]", f'[net]\nwords = "{f"faults=on {words}".strip()}"', 1)
    text = text.replace("aoe.slot=0", "aoe.slot=0 faults=on")
    text = text.replace("/var/lib/observer/disk.img", str(disk))
    return text.replace("spare = false", f"spare = {str(spare).lower()}")


def _write_images(folder: Path, *, spare: bool, words: str = "") -> None:
    came = images_file(NO_FILE).read_text()  # not the operator's
    ETC.parent.mkdir(parents=True, exist_ok=True)
    ETC.write_text(images_text(came, folder / DISK, spare=spare, words=words))


@contextmanager
def own_images(folder: Path, words: str = "") -> Iterator[None]:
    """Services that may be broken: not those that an operator has."""
    if ETC.exists():
        raise UsageError(
            f"{ETC} is there: an experiment needs services of its own; move it away."
        )
    if running := [p.name for p in RUNTIME.glob("*/service.json")]:
        raise UsageError(
            f"A service is up ({running[0]}), and an experiment breaks services: end "
            "it first (observer service down)."
        )
    _write_images(folder, spare=False, words=words)
    try:
        yield
    finally:
        ETC.unlink()


@contextmanager
def _initiator() -> Iterator[None]:
    """This host finds the disk, and lets go of it."""
    modprobe = ("modprobe", "aoe", "aoe_iflist=obs-storage")
    subprocess.run(modprobe, check=True, timeout=SERVICE_SECONDS)
    try:
        wait_until(DEVICE.exists, SERVICE_SECONDS, f"{DEVICE} was there")
        yield
    finally:
        remove = ("modprobe", "-r", "aoe")
        subprocess.run(remove, check=False, timeout=SERVICE_SECONDS)


def _image(
    image: GuestImage, spec: GuestSpec, load: Path, period_ms: float, folder: Path
) -> GuestImage:
    """The guest's, with its load."""
    on_disk = spec.disk is not None
    start = START.format(
        load=load.resolve(),
        peer=spec.host_address,
        period_us=round(period_ms * 1000),
        disk="/dev/vda" if on_disk else "",
    )
    if on_disk:
        start += f"{{ {FIO}; echo {FIO_ENDED} $?; }} >/dev/ttyS0 2>&1 &\n"
    programs = [str(load.resolve()), *(["fio"] if on_disk else [])]
    return with_programs(image, programs, start, folder)


@contextmanager
def _listener(namespace: str | None) -> Iterator[socket.socket]:
    with in_namespace(namespace):
        listener = socket.create_server((SPEC.host_address, STREAM_PORT))
    with listener:
        listener.settimeout(LOOK_SECONDS)
        yield listener


@contextmanager
def _own_wire() -> Iterator[socket.socket]:
    """On the guest's own tap, which has its address once it is there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.bind((SPEC.host_address, DATAGRAM_PORT))
        yield wire


@contextmanager
def scene(
    experiment: str,
    image: GuestImage,
    load: Path,
    period_ms: float,
    tell: Callable[[str], None],
) -> Iterator[Scene]:
    """Set it up; the guest is up and its streams flow when the block begins."""
    services = SERVICES[experiment]
    through_net, on_disk = "net" in services, "disk" in services
    spec = SPEC
    if on_disk:
        spec = GuestSpec(
            SPEC.name, SPEC.subnet, 1, MEMORY_WITH_FIO_MIB, disk=str(DEVICE)
        )
    with ExitStack() as stack:
        enter = stack.enter_context
        made = enter(TemporaryDirectory(prefix="observer-experiment-", dir=RUN))
        folder, writers = Path(made), None
        if on_disk:
            with (folder / DISK).open("wb") as file:
                file.truncate(DISK_MIB << 20)
            writers = enter(Writers(folder / DISK))
        enter(own_images(folder))
        tell(f"starts {' and '.join(services)}")
        stack.callback(service, "down", *services)
        service("up", *services)
        if on_disk:
            enter(_initiator())
        tell("boots the guest")
        its = _image(image, spec, load, period_ms, folder)
        guest = enter(starting_guest(spec, its))
        namespace = None
        if through_net:
            ip("addr", "flush", "dev", spec.tap)
            ip("link", "set", spec.tap, "master", "obs-guests")
            namespace = NAMESPACE
            wire = enter(host(NAMESPACE, "obs-uplink", spec.host_address))
        else:
            wire = enter(_own_wire())
        wire.settimeout(LOOK_SECONDS)
        stream = enter(ByteStream(enter(_listener(namespace))))
        wait_for_guest(guest, BOOT_SECONDS)
        to = (spec.guest_address, DATAGRAM_PORT)
        datagrams = enter(Datagrams(wire, to, period_ms / 1000))
        trace = enter(fault_trace())
        yield Scene(
            services, guest, datagrams, stream, writers, folder, namespace, trace
        )
