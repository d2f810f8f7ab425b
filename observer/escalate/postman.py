# SPDX-License-Identifier: Apache-2.0
"""Delivers what waits in the outbox, beside all else: no repair waits for it."""

from __future__ import annotations

import asyncio
import socket
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from observer.errors import DeadlineError, HostError, ObserverError, ProgramError
from observer.escalate.alert import RESEND_SECONDS, Alert, Letter, alert_of, letters_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from observer.escalate.outbox import Outbox
    from observer.escalate.policy import EscalatePolicy
    from observer.model import Verdict

__all__ = ["Postman"]

DELIVERY_SECONDS = 10.0
REFUSED = range(400, 500)
MAY_CHANGE = (401, 403, 404, 408, 429)  # of those the ones that are worth another try


class NeverError(ObserverError):
    """The address has understood a letter, and will not have it."""


def _post(letter: Letter) -> None:
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


async def _run(letter: Letter) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            *letter.to,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as e:
        raise ProgramError(f"{letter.to[0]} cannot be run ({e.strerror}).") from e
    try:
        async with asyncio.timeout(DELIVERY_SECONDS):
            await process.communicate(letter.body.encode())
    except TimeoutError:
        raise DeadlineError(
            f"{letter.to[0]} did not end within {DELIVERY_SECONDS:.0f} s."
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise ProgramError(f"{letter.to[0]} ended with {process.returncode}.")


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
        self._put(alert)

    def over(self, vm: str, subject: str | None = None) -> None:
        """What was told has ended: of one subject, or of all of a VM's."""
        for key in [k for k in self._lasting if k[0] == vm and subject in (None, k[1])]:
            ended = datetime.now(UTC).isoformat()
            self._put(msgspec.structs.replace(self._lasting.pop(key), ended=ended))

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
            if letter.is_post:
                await asyncio.to_thread(_post, letter)
            else:
                await _run(letter)
        except NeverError as e:
            self._on_error(f"{e.message} It was not told again.")
        except ObserverError as e:
            self._on_error(e.message)
            self._outbox.put_off(number, time.time())
            return
        self._outbox.done(number)
