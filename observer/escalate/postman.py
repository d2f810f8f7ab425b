# SPDX-License-Identifier: Apache-2.0
"""Delivers what waits in the outbox, beside all else: no repair waits for it."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from observer.errors import DeadlineError, HostError, ObserverError, ProgramError
from observer.escalate.alert import (
    MASAKARI,
    RESEND_SECONDS,
    Alert,
    Letter,
    alert_of,
    for_masakari,
    is_for_masakari,
    letters_of,
)
from observer.escalate.masakari import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from observer.escalate.outbox import Outbox
    from observer.escalate.policy import EscalatePolicy
    from observer.model import Verdict

__all__ = ["Postman"]

DELIVERY_SECONDS = 10.0
CLOUD_SECONDS = 60.0  # openstacksdk is long in starting, and Keystone comes first
# The daemon's real-time priority is not for others.
AS_USUAL = ("chrt", "--other", "0")
TELL_MASAKARI = (sys.executable, "-P", "-m", "observer.escalate.masakari")
REFUSED = range(400, 500)
MAY_CHANGE = (401, 403, 404, 408, 429)  # of those the ones that are worth another try


class NeverError(ObserverError):
    """The address has understood a letter, and will not have it."""


def _post(letter: Letter) -> None:
    # TLS comes with it, 1 MB: not for who posts nothing
    import urllib.error
    import urllib.request

    request = urllib.request.Request(  # noqa: S310 - the policy has only http addresses
        letter.to[0],
        letter.body.encode(),
        {"Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=DELIVERY_SECONDS):  # noqa: S310
            return
    except urllib.error.HTTPError as e:
        with e:
            lasting = e.code in REFUSED and e.code not in MAY_CHANGE
            error = NeverError if lasting else ProgramError
            raise error(f"{letter.to[0]} answered {e.code} {e.reason}.") from e
    except (OSError, ValueError) as e:
        raise ProgramError(f"{letter.to[0]} cannot be reached ({e}).") from e


async def _run(
    argv: tuple[str, ...], body: str, seconds: float, stderr: int
) -> tuple[int, str]:
    """Its status, and its last word where standard error is a pipe."""
    if shutil.which(argv[0]) is None:
        raise ProgramError(f"{argv[0]} cannot be run: see that it is there.")
    try:
        process = await asyncio.create_subprocess_exec(
            *AS_USUAL,
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stderr,
        )
    except OSError as e:
        raise ProgramError(f"{argv[0]} cannot be run ({e.strerror}).") from e
    try:
        async with asyncio.timeout(seconds):
            _, said = await process.communicate(body.encode())
    except TimeoutError:
        raise DeadlineError(f"{argv[0]} did not end within {seconds:.0f} s.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = (said or b"").decode(errors="replace").splitlines()
    return process.returncode or 0, lines[-1] if lines else ""


async def _command(letter: Letter) -> None:
    """What it says is not heard: who it leaves running may go on saying it."""
    silent = asyncio.subprocess.DEVNULL
    status, _ = await _run(letter.to, letter.body, DELIVERY_SECONDS, silent)
    if status:
        raise ProgramError(f"{letter.to[0]} ended with {status}.")


async def _tell_masakari(letter: Letter) -> None:
    argv = *TELL_MASAKARI, *letter.to[1:]
    heard = asyncio.subprocess.PIPE
    status, said = await _run(argv, letter.body, CLOUD_SECONDS, heard)
    if status:
        error = NeverError if status == NEVER else ProgramError
        raise error(said or f"The program that tells Masakari ended with {status}.")


async def _carry(letter: Letter) -> None:
    if letter.until is not None and time.time() > letter.until:
        raise NeverError(f"{' '.join(letter.to)} could not be told in time.")
    if letter.is_post:
        await asyncio.to_thread(_post, letter)
    elif letter.to[0] == MASAKARI:
        await _tell_masakari(letter)
    else:
        await _command(letter)


class Postman:
    """Takes alerts, keeps them until they are delivered, and tells when they end."""

    def __init__(
        self,
        policy: EscalatePolicy,
        outbox: Outbox,
        on_error: Callable[[str], None],
        host: str | None = None,
    ) -> None:
        self._policy, self._outbox, self._on_error = policy, outbox, on_error
        self._host = host or socket.gethostname()
        self._lasting: dict[tuple[str, str], Alert] = {}
        self._no_instances: set[str] = set()
        self._more = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._resend_at = 0.0

    # -- taking ---------------------------------------------------------------------

    def tell(self, verdict: Verdict, why: str) -> None:
        """Somebody is to know of this; `why` says why it is not repaired here."""
        alert = alert_of(verdict, why, self._host)
        if not self._lasting:
            self._resend_at = time.time() + RESEND_SECONDS
        self._lasting[alert.vm, alert.subject] = alert
        if is_for_masakari(alert, self._policy) and alert.uuid is None:
            self._say_once(alert.vm)
        self._put(alert)

    def _say_once(self, vm: str) -> None:
        if vm not in self._no_instances:
            self._no_instances.add(vm)
            self._on_error(
                f"Masakari is not told of {vm}, whose VMM was given no UUID: start it "
                "with -uuid if it is an instance of OpenStack."
            )

    def over(self, vm: str, subject: str | None = None) -> None:
        """What was told has ended: of one subject, or of all of a VM's."""
        for key in [k for k in self._lasting if k[0] == vm and subject in (None, k[1])]:
            ended = datetime.now(UTC).isoformat()
            told = self._lasting.pop(key)
            self._withdraw(for_masakari(told, self._policy))  # it would restart it
            self._put(msgspec.structs.replace(told, ended=ended))

    def _withdraw(self, letters: list[Letter]) -> None:
        try:
            self._outbox.withdraw(letters)
        except HostError as e:
            self._on_error(e.message)

    def _put(self, alert: Alert, *, again: bool = False) -> None:
        letters = letters_of(alert, self._policy, datetime.now(UTC), again=again)
        try:
            self._outbox.put(letters, time.time())
        except HostError as e:
            self._on_error(e.message)
        self._more.set()

    # -- delivering -----------------------------------------------------------------

    def start(self) -> None:
        """Begin with what was left by the one before us."""
        self._running = asyncio.create_task(self._deliver_all())

    async def close(self) -> None:
        """Stop; what is not delivered stays in the outbox."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _deliver_all(self) -> None:
        while True:
            self._more.clear()
            try:
                letters = self._outbox.due(time.time())
                await asyncio.gather(*(self._deliver(n, x) for n, x in letters))
                if not letters:
                    await self._wait()
            except HostError as e:
                self._on_error(e.message)
                await asyncio.sleep(DELIVERY_SECONDS)  # the file may be mended by then

    async def _wait(self) -> None:
        """Sleep until there is something to do; with nothing to tell, for ever."""
        times = [self._outbox.next_due(), self._resend_at if self._lasting else None]
        known = [at for at in times if at is not None]
        seconds = max(0.0, min(known) - time.time()) if known else None
        try:
            async with asyncio.timeout(seconds):
                await self._more.wait()
        except TimeoutError:
            pass
        if self._lasting and time.time() >= self._resend_at:
            self._resend_at = time.time() + RESEND_SECONDS
            for alert in self._lasting.values():
                self._put(alert, again=True)

    async def _deliver(self, number: int, letter: Letter) -> None:
        try:
            await _carry(letter)
        except NeverError as e:
            self._on_error(f"{e.message} It was not told again.")
        except ObserverError as e:
            self._on_error(e.message)
            self._outbox.put_off(number, time.time())
            return
        self._outbox.done(number)
