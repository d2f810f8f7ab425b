# SPDX-License-Identifier: Apache-2.0
"""The daemon's one loop: take suspicions, look twice, give verdicts.

It sleeps until the kernel has a suspicion.  Each suspicion is a case of its own: an
asyncio task with a key, so that a VM that does not answer holds up nobody else.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from observer.cases import Cases
from observer.cases.rehearsal import Rehearsals
from observer.gates import Inhibitions, booting
from observer.inventory.vmm import read_vms
from observer.kernel.cells import Pool, RingKind
from observer.kernel.rings import ring_slots
from observer.meaning import ACTIONS, CAUSES, OF_GUEST, is_event
from observer.model import (
    Confirmed,
    Look,
    Suspicion,
    SuspicionKind,
    Verdict,
    VerdictKind,
    Vm,
)
from observer.news import NEW, News
from observer.services.record import SPARE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from observer.clock import Clock
    from observer.config import Policy
    from observer.confirm.question import Questions
    from observer.inventory.descriptors import Descriptors
    from observer.inventory.register import Register
    from observer.kernel.books import Books
    from observer.kernel.cells import Cells

__all__ = ["Watch"]

RECHECK_SECONDS = 2.0  # while a verdict is open or a VM is hushed
FALLEN_KEPT = 100


class Watch:
    """What is known of the VMs, and the cases that are open."""

    def __init__(  # noqa: PLR0913 - all that it touches is an argument
        self,
        books: Books,
        policy: Policy,
        clock: Clock,
        questions: Questions,
        register: Register,
        *,
        on_verdict: Callable[[Verdict], None],
        on_note: Callable[[str, str], None] = lambda _kind, _text: None,
        on_arrival: Callable[[], None] = lambda: None,
        on_settled: Callable[[], None] = lambda: None,
        on_vm: Callable[[Vm], None] = lambda _vm: None,
        on_seen: Callable[[Vm], None] = lambda _vm: None,
        on_closed: Callable[[Verdict], None] = lambda _verdict: None,
        proc: Path = Path("/proc"),
    ) -> None:
        self.books, self.policy, self.clock = books, policy, clock
        self.questions, self.proc = questions, proc
        self._register, self._known = register, register.read()
        self.inhibitions = Inhibitions(clock)
        self.vms: dict[int, Vm] = {}
        self.open: dict[tuple[int, str], Verdict] = {}
        self.fallen: dict[str, Verdict] = {}
        """Of each VM that crashed, until the next one of its name comes."""
        self.refuted: dict[str, int] = {}
        self._on_verdict, self._on_note = on_verdict, on_note
        self._on_arrival, self._on_settled = on_arrival, on_settled
        self._on_vm, self._on_seen, self._on_closed = on_vm, on_seen, on_closed
        self._cases: dict[tuple[object, ...], asyncio.Task[None]] = {}
        self._looks = Cases(self)
        self._news = News(self._settle)
        self._rechecking: asyncio.Task[None] | None = None
        self._rehearsals = Rehearsals(self, self._looks)

    # -- taking ---------------------------------------------------------------

    def hear(self) -> None:
        """Take what the kernel raised; called when the books are readable."""
        silent = []
        for suspicion in self.books.take():
            match suspicion.kind:
                case SuspicionKind.NOTE_VM:
                    self.discover(NEW)
                case SuspicionKind.NOTE_RING:
                    self.discover(suspicion.vm)
                case SuspicionKind.NOTE_MODULE:
                    self._on_arrival()
                case SuspicionKind.SILENT:
                    silent.append(suspicion)
                case _:
                    self._open_case(suspicion)
        self._ask(silent)

    def _ask(self, silent: list[Suspicion]) -> None:
        """Send all silent guests their frame; the kernel sees who answers.

        One that has no tap is looked at instead: its VMM may hold it.
        """
        for suspicion in silent:
            vm = self.vms.get(suspicion.vm)
            if vm is None or self.inhibitions.left_ns(vm.name):
                continue
            if self.is_booting(vm.slot):
                continue
            if not vm.taps:  # nobody can ask it
                unasked = msgspec.structs.replace(
                    suspicion, kind=SuspicionKind.UNANSWERED
                )
                self._open_case(unasked)
                continue
            self.books.vms[vm.slot]["asked_ns"] = self.clock.now_ns()
            self.questions.ask(vm.taps)

    def _open_case(self, suspicion: Suspicion) -> None:
        part = "guest" if suspicion.kind in OF_GUEST else suspicion.kind.name
        key = (suspicion.vm, part, suspicion.slot, suspicion.tgid)
        if key in self._cases:
            return
        task = asyncio.create_task(self._judge(suspicion))
        self._cases[key] = task
        task.add_done_callback(lambda _: self._cases.pop(key, None))

    async def _judge(self, suspicion: Suspicion) -> None:
        vm = self.vms.get(suspicion.vm)
        if vm is None:
            await self.discover(NEW).wait()
            if self._is_of_the_dead(suspicion):
                return
            vm = self.vms.get(suspicion.vm) or Vm(
                suspicion.tgid, 0, f"pid-{suspicion.tgid}", suspicion.vm
            )
        look = await self._looks.look(vm, suspicion)
        self._conclude(vm, look, self._looks.server_pid(vm, suspicion))
        if suspicion.kind is SuspicionKind.EXITED and suspicion.tgid == vm.pid:
            await self._bury(vm, look)

    def _is_of_the_dead(self, suspicion: Suspicion) -> bool:
        """Whether a back end has ended whose VM is gone: that has its verdict."""
        vmm = int(self.books.vms[suspicion.vm]["tgid"])
        return suspicion.kind is SuspicionKind.EXITED and vmm != suspicion.tgid

    def _conclude(self, vm: Vm, look: Look, server: int) -> None:
        if not isinstance(look, Confirmed):
            self.refuted[look.reason] = self.refuted.get(look.reason, 0) + 1
            self._on_note("refuted", f"{vm.name}: {look.reason}")
            return
        if self.inhibitions.left_ns(vm.name):
            self._on_note("inhibited", f"{vm.name}: {look.kind}: {look.evidence}")
            return
        if (vm.slot, look.subject) in self.open or self._explained(vm, look):
            return
        now = self.clock.now_ns()
        verdict = Verdict(
            time=datetime.now(UTC).isoformat(),
            monotonic_ns=now,
            vm=vm.name,
            subject=look.subject,
            kind=look.kind,
            since_ns=look.since_ns,
            late_by_ns=now - look.since_ns,
            evidence=look.evidence,
            action=self._action(vm, look.kind),
            pid=vm.pid,
            uuid=vm.uuid,
            server=server,
        )
        self.open[vm.slot, look.subject] = verdict
        self._on_verdict(verdict)
        self._recheck_soon()

    def _action(self, vm: Vm, kind: VerdictKind) -> str:
        """What is done about it, or would be if the policy cared for it."""
        repair = self.policy.repair
        if not repair.cares_for(vm.name):
            return ACTIONS[kind]
        steps = ", else ".join(step.do for step in repair.ladder(kind))
        return f"{'would ' if repair.dry_run else ''}{steps or 'alert'}"

    def _explained(self, vm: Vm, look: Confirmed) -> bool:
        """Say whether a silence has its cause in a verdict that is open already."""
        causes = CAUSES.get(look.kind, ())
        return any(
            slot == vm.slot and verdict.kind in causes
            for (slot, _), verdict in self.open.items()
        )

    # -- who there is -----------------------------------------------------------

    def discover(self, vm_slot: int | None = None) -> asyncio.Event:
        """Read a VM and its back ends anew, soon, or all; many calls make one scan.

        When that is done the event is set.
        """
        return self._news.tell(vm_slot)

    async def _settle(self, news: set[int | None]) -> None:
        """Read those that there is news of; None is of all."""
        slots = np.flatnonzero(self.books.vms["tgid"])
        pids = {int(self.books.vms[s]["tgid"]): int(s) for s in slots}
        known = {slot: vm.pid for slot, vm in self.vms.items()}
        wanted = {
            pid: slot
            for pid, slot in pids.items()
            if news & {None, slot} or known.get(slot) != pid
        }
        if not wanted and None not in news:
            return
        words = self.proc, wanted, self._known, pids
        read, held = await asyncio.to_thread(read_vms, *words)
        tgids = self.books.vms["tgid"]  # one may have been buried meanwhile
        found = [vm for vm in read if tgids[vm.slot] == vm.pid]
        self._known = {pid: vm for pid, vm in self._known.items() if pid in pids}
        self._known |= {vm.pid: vm for vm in found}
        if any(vm.slot not in self.vms for vm in found):
            self._on_arrival()  # the first service VM: its programs are not there yet
        for vm in found:
            if tgids[vm.slot] == vm.pid:
                self._take_in(vm, held)
            await asyncio.sleep(0)  # a verdict does not wait for a thousand others
        self._register.write(self.vms.values())

    def _take_in(self, vm: Vm, held: Mapping[int, Descriptors]) -> None:
        if vm.slot not in self.vms:
            self._on_note("vm", f"{vm.name} (pid {vm.pid}) is watched")
            self._on_vm(vm)
            self.fallen.pop(vm.name, None)
        self.vms[vm.slot] = vm
        self._on_seen(vm)
        for back_end in vm.back_ends:
            self.books.watch_process(back_end.pid, vm.slot)
        self._enter_rings(vm, held)
        self._name_servers(vm, held)
        self._rehearsals.rehearse(vm)

    def _find_ended(self) -> None:
        """Judge VMMs of whose end an observer had heard that has ended itself."""
        now, vms = self.clock.now_ns(), self.books.vms
        heard = {key[0] for key in self._cases if key[1] == SuspicionKind.EXITED.name}
        for slot in np.flatnonzero((vms["tgid"] != 0) & (vms["exited"] != 0)):
            at, pid, code = int(slot), int(vms[slot]["tgid"]), vms[slot]["exit_code"]
            kind = SuspicionKind.EXITED
            if at not in heard:
                self._open_case(Suspicion(kind, now, now, int(code), pid, at, at))

    def _enter_rings(self, vm: Vm, held: Mapping[int, Descriptors]) -> None:
        """Enter vhost rings that were at work before we came, and are idle since."""
        vcpus = self.books.vcpus[: int(self.books.used[Pool.VCPUS])]
        mine = np.flatnonzero((vcpus["vm"] == vm.slot) & (vcpus["tid"] != 0))
        if len(mine):
            for fd in held[vm.pid].vhost:
                self.books.enter_vhost_file(int(mine[0]), fd)

    def _name_servers(self, vm: Vm, held: Mapping[int, Descriptors]) -> None:
        """Tell BPF which process serves each ring that a process serves."""
        for slot in self.ring_slots(vm.slot):
            if self.books.rings[slot]["kind"] == RingKind.USER:
                server = self._looks.server_of(vm, slot, held)
                self.books.rings[slot]["worker_tid"] = server

    async def _bury(self, vm: Vm, look: Look) -> None:
        """Free what a VM that is gone held in the books."""
        for key, task in list(self._cases.items()):
            if key[0] == vm.slot and task is not asyncio.current_task():
                task.cancel()
        self.vms.pop(vm.slot, None)
        self._rehearsals.forget(vm)
        for key in [k for k in self.open if k[0] == vm.slot]:
            verdict = self.open.pop(key)
            if verdict.subject == vm.name and isinstance(look, Confirmed):
                self._fell(verdict)
        self.books.forget(vm.slot)
        if not isinstance(look, Confirmed):
            self._on_note("vm", f"{vm.name} (pid {vm.pid}) ended")

    def _fell(self, verdict: Verdict) -> None:
        self.fallen[verdict.vm] = verdict
        if len(self.fallen) > FALLEN_KEPT:
            del self.fallen[next(iter(self.fallen))]

    def verdicts_on(self, name: str) -> list[Verdict]:
        """What is wrong with a VM of this name, or was the end of it."""
        lasting = [v for v in self.open.values() if v.vm == name]
        return lasting or [v for v in (self.fallen.get(name),) if v is not None]

    def suspected(self) -> set[str]:
        """Names of the VMs that are being looked at."""
        slots = {key[0] for key in self._cases}
        return {vm.name for slot, vm in self.vms.items() if slot in slots}

    # -- what the cells say -------------------------------------------------------

    def ring_slots(self, vm_slot: int) -> list[int]:
        """Slots of a VM's rings."""
        return ring_slots(self.books, vm_slot)

    def vcpus_of(self, vm_slot: int) -> Cells:
        """Cells of a VM's vCPUs, as they are now."""
        vcpus = self.books.vcpus[: int(self.books.used[Pool.VCPUS])]
        mine: Cells = vcpus[(vcpus["vm"] == vm_slot) & (vcpus["tid"] != 0)]
        return mine

    def is_booting(self, vm_slot: int) -> bool:
        """Say whether the guest is not up yet, or again."""
        slots = self.ring_slots(vm_slot)
        age = self.clock.now_ns() - int(self.books.vms[vm_slot]["seen_ns"])
        return booting(
            age_ns=age,
            boot_ns=self.policy.limits.boot,
            vcpus=self.vcpus_of(vm_slot),
            rings=self.books.rings[slots],
            has_tap=vm_slot in self.vms and bool(self.vms[vm_slot].taps),
        )

    # -- recovery -----------------------------------------------------------------

    def _recheck_soon(self) -> None:
        if self._rechecking is None or self._rechecking.done():
            self._rechecking = asyncio.create_task(self._recheck())

    def hush(self, vm: Vm) -> None:
        """Ask a VM no more until it gives a sign; BPF ends the hush with it."""
        self.books.vms[vm.slot]["hushed"] = 1
        self._recheck_soon()

    def stands_by(self, vm: Vm) -> bool:
        """Whether it is the spare of a service, which waits to serve."""
        return self._looks.stands_by(vm)

    def is_well(self, verdict: Verdict) -> bool:
        """Whether the VM of a verdict is well by now, or the one in its place is."""
        named = [vm for vm in self.vms.values() if vm.name == verdict.vm]
        others = [vm for vm in named if vm.pid != verdict.pid]
        if others:  # a service has two: the one that serves, and its spare
            spare = verdict.subject == f"{verdict.vm}/{SPARE}"
            others = [vm for vm in others if self._looks.stands_by(vm) == spare]
        if others:
            return self._looks.lives(others[-1])
        if is_event(verdict):
            return False
        its = (vm.slot for vm in named if vm.pid == verdict.pid)
        return any(self._looks.recovered(slot, verdict) for slot in its)

    def close_paid(self) -> None:
        """Close the verdicts whose debts have been paid since."""
        for key, verdict in list(self.open.items()):
            if self._looks.recovered(key[0], verdict):
                del self.open[key]
                self._on_note("recovered", f"{verdict.vm}: {verdict.subject} is back")
                if not is_event(verdict):
                    self._on_closed(verdict)

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            self.close_paid()
            hushed = [s for s in self.vms if self.books.vms[s]["hushed"]]
            for slot in hushed:
                self._looks.unhush_if_running(self.vms[slot])
            if not self.open and not hushed:
                return

    # -- running ------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until told to stop."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self.books.fileno(), self.hear)
        try:
            await self._news.read({None})
            self.hear()
            self._find_ended()
            self._on_settled()
            await stop.wait()
        finally:
            loop.remove_reader(self.books.fileno())
            self._news.cancel()
            own = (self._rechecking, *self._rehearsals.tasks.values())
            for task in [*self._cases.values(), *own]:
                if task is not None:
                    task.cancel()
