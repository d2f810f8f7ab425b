# SPDX-License-Identifier: Apache-2.0
"""`observer run`: one daemon on a host, armed, watching, answering on its socket."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import signal
import time
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from observer.clock import SECOND, MonotonicClock
from observer.confirm.question import Questions
from observer.errors import HostError, ProgramError
from observer.escalate.masakari import check_installed
from observer.export.server import Request, Server
from observer.export.status import describe_repairs, describe_vm
from observer.inventory.register import Register
from observer.kernel.arm import Armed
from observer.kernel.libbpf import Libbpf
from observer.model import Result
from observer.notify import notify_systemd
from observer.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from observer.config import Policy
    from observer.escalate.postman import Postman
    from observer.inventory.recorded import Recorded
    from observer.kernel.bcc import Compiled
    from observer.loops.repairs import Repairs
    from observer.model import Outcome, Verdict, Vm

__all__ = ["Daemon", "lock_host"]

PRIORITY = 1
"""Above all that is not real-time: it sleeps while all is well, and where the host is
overloaded it must be in time; nor does the kernel leave it on a CPU that another took.
"""
OBJECTS = Path(str(files("observer"))) / "bpf"


def lock_host(runtime: Path) -> TextIO:
    """Be the only observer on this host for as long as the file is open."""
    try:
        runtime.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = (runtime / "lock").open("a+")
    except OSError as e:
        raise HostError(
            f"{runtime} cannot be written ({e.strerror}): run as root, or set "
            "paths.runtime in the policy."
        ) from e
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        lock.seek(0)
        pid = lock.read().strip() or "unknown"
        lock.close()
        raise HostError(
            f"An observer runs on this host already (pid {pid}): "
            "stop it first, or ask it (observer status)."
        ) from e
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def check_host(dev: Path = Path("/dev/kvm")) -> None:
    """Refuse early, with a sentence, where nothing can work."""
    if os.geteuid() != 0:
        raise HostError("BPF programs need root: run it with sudo.")
    if not dev.exists():
        raise HostError(
            f"{dev} is missing, this is no KVM host: load kvm_amd or kvm_intel, or "
            "try it in the nested one (observer testbed run -- observer run)."
        )


def _arm(policy: Policy, loader: str) -> Armed | Compiled:
    bpffs = Path(policy.paths.bpffs)
    if loader == "bcc":
        # numba and BCC take longer to import than all the rest takes to arm
        from observer.kernel.bcc import Compiled

        return Compiled(Libbpf(), policy.knobs(), bpffs)
    return Armed(Libbpf(), OBJECTS, policy.knobs(), bpffs)


class Daemon:
    """Everything that `observer run` holds open."""

    def __init__(
        self,
        policy: Policy,
        on_verdict: Callable[[Verdict], None],
        on_outcome: Callable[[Outcome], None],
        on_note: Callable[[str, str], None],
        loader: str = "libbpf",
    ) -> None:
        self._policy, self._on_note = policy, on_note
        self._on_verdict, self._on_outcome = on_verdict, on_outcome
        self._started_ns = time.monotonic_ns()
        check_host()
        if policy.escalate.masakari is not None:
            check_installed()
        runtime = Path(policy.paths.runtime)
        self._lock = lock_host(runtime)
        self._armed = _arm(policy, loader)
        self.armed_in_ns = time.monotonic_ns() - self._started_ns
        self._server = Server(runtime / "socket", policy.group, self._answer)
        self.watch = Watch(
            self._armed.books,
            policy,
            MonotonicClock(),
            Questions(),
            Register(runtime / "vms.json"),
            on_verdict=self._publish,
            on_note=on_note,
            on_arrival=self._arm_missing,
            on_settled=lambda: self._repairs.resume() if self._repairs else None,
            on_vm=self._greet,
            on_seen=self._see,
            on_closed=self._close,
        )
        self._recorded: Recorded | None = None
        self._repairs = self._care() if policy.repair.care else None
        self._postman = self._post() if policy.escalate.tells_anybody else None

    def _care(self) -> Repairs:
        """The loops, where the policy names somebody to care for."""
        from observer.actuators import actuators
        from observer.inventory.recorded import Recorded
        from observer.journal import Journal, boot_id
        from observer.loops.repairs import Repairs
        from observer.services.folder import RUNTIME

        watch, policy = self.watch, self._policy.repair
        state, boot = Path(self._policy.paths.state), boot_id()
        self._recorded = Recorded(
            state / "command-lines.db", boot, watch.proc, self._tell_error
        )
        return Repairs(
            policy,
            watch.clock,
            actuators(watch, self._recorded, policy, RUNTIME),
            Journal(state / "journal.db", boot),
            is_well=watch.is_well,
            suspected=watch.suspected,
            on_outcome=self._tell_outcome,
            on_healed=watch.close_paid,
            on_error=self._tell_error,
        )

    def _tell_error(self, text: str) -> None:
        self._on_note("error", text)

    def _post(self) -> Postman:
        """Who tells somebody else, where the policy names an address."""
        from observer.escalate.outbox import Outbox
        from observer.escalate.postman import Postman

        outbox = Outbox(Path(self._policy.paths.state) / "outbox.db")
        return Postman(self._policy.escalate, outbox, self._tell_error)

    def _see(self, vm: Vm) -> None:
        if self._recorded is not None and self._policy.repair.cares_for(vm.name):
            self._recorded.see(vm)

    def _greet(self, vm: Vm) -> None:
        if self._postman is not None:
            self._postman.over(vm.name)  # whatever became of the one before it

    def _close(self, verdict: Verdict) -> None:
        if self._postman is not None:
            self._postman.over(verdict.vm, verdict.subject)

    def _publish(self, verdict: Verdict) -> None:
        if self._repairs is not None:  # first: whoever reads of it may be slow
            self._repairs.take(verdict)
        self._on_verdict(verdict)
        self._server.publish(verdict)
        repair = self._policy.repair
        if self._postman is not None and not repair.mends(verdict.vm):
            self._postman.tell(verdict, "the policy does not let it be repaired")

    def _tell_outcome(self, outcome: Outcome, verdict: Verdict) -> None:
        if self._postman is not None and outcome.result is Result.ESCALATED:
            self._postman.tell(verdict, outcome.why)
        self._on_outcome(outcome)
        self._server.publish(outcome)

    def _arm_missing(self) -> None:
        try:
            late = self._armed.arm_missing()
        except ProgramError as e:  # e.g. a module that is loaded halfway
            self._on_note("error", e.message)
            return
        if late:
            self._on_note("armed", f"{', '.join(late)}: what it lacked is there now")
            asyncio.get_running_loop().remove_reader(self.watch.books.fileno())
            asyncio.get_running_loop().add_reader(
                self.watch.books.fileno(), self.watch.hear
            )

    async def run(self) -> None:
        """Watch until SIGTERM or Ctrl-C; then leave the kernel as it was."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        gc.collect()
        gc.freeze()  # what is here stays: no collection walks it while a verdict waits
        await self._server.start()
        if self._postman is not None:
            self._postman.start()
        self._tell()
        with suppress(PermissionError):  # a container may not have the right
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
        try:
            notify_systemd("READY=1")
            await self.watch.run(stop)
        finally:
            notify_systemd("STOPPING=1")
            if self._repairs is not None:
                self._repairs.close()
            if self._recorded is not None:
                self._recorded.close()
            if self._postman is not None:
                await self._postman.close()
            await self._server.close()
            self.watch.books.close(detach=True)
            self._lock.close()

    def _tell(self) -> None:
        adopted = ", ".join(self._armed.adopted)
        self._on_note(
            "armed",
            f"in {self.armed_in_ns / SECOND:.3f} s"
            + (f", taken over as they were: {adopted}" if adopted else ""),
        )
        for name, reason in self.watch.books.left_out.items():
            self._on_note("left out", f"{name}: {reason}")

    def _answer(self, request: Request) -> Any:
        watch = self.watch
        match request.do:
            case "status":
                return self._status()
            case "inhibit" | "resume":
                if request.vm not in {vm.name for vm in watch.vms.values()}:
                    raise ValueError(f"there is no VM {request.vm}")
                if request.do == "inhibit":
                    watch.inhibitions.inhibit(request.vm, request.for_ns)
                    return True
                return watch.inhibitions.resume(request.vm)
            case "repair":
                return self._repair(request)
            case _:
                raise ValueError(f"unknown request {request.do}")

    def _repair(self, request: Request) -> list[str]:
        """By hand: what is begun, or would be."""
        verdicts = self.watch.verdicts_on(request.vm)
        if not verdicts:
            raise ValueError(f"there is no verdict on {request.vm}, nothing to repair")
        try:
            self._repairs = self._repairs or self._care()
        except HostError as e:  # its journal
            raise ValueError(e.message.rstrip(".")) from e
        plans = [f"{v.subject}: {self._repairs.plan(v)}" for v in verdicts]
        for verdict in () if request.dry_run else verdicts:
            self._repairs.mend(verdict)
        return plans

    def _status(self) -> dict[str, Any]:
        watch = self.watch
        return {
            "armed_in_ns": self.armed_in_ns,
            "left_out": watch.books.left_out,
            "dropped": watch.books.dropped(),
            "refuted": watch.refuted,
            "repairs": describe_repairs(self._repairs),
            "vms": [describe_vm(watch, slot) for slot in sorted(watch.vms)],
        }
