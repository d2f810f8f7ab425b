# SPDX-License-Identifier: Apache-2.0
"""Who is told what: a real Alertmanager, a server and a program of ours."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from observer.escalate.outbox import Outbox
from observer.escalate.policy import EscalatePolicy
from observer.escalate.postman import Postman
from observer.model import Verdict, VerdictKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

SINCE = "2026-11-25T06:00:00+00:00"
HUNG = Verdict(
    SINCE, 7, "web-1", "web-1", VerdictKind.GUEST_HUNG, 3, 4, "it answers nothing", ""
)


class Post:
    """A web server that answers with the codes it is given, then with 200."""

    def __init__(self, *codes: int) -> None:
        self.codes, self.heard = list(codes), []  # type: ignore[var-annotated]

    @contextmanager
    def listening(self, port: int) -> Iterator[str]:
        post = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                post.heard.append(json.loads(self.rfile.read(size)))
                self.send_response(post.codes.pop(0) if post.codes else 200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing: pytest's output is for failures."""

        with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/alerts"
            finally:
                server.shutdown()
                thread.join()


@asynccontextmanager
async def postman(
    folder: Path, errors: list[str], **policy: Any
) -> AsyncIterator[Postman]:
    outbox = Outbox(folder / "outbox.db")
    made = Postman(EscalatePolicy(**policy), outbox, errors.append, "host-1")
    made.start()
    try:
        yield made
    finally:
        await made.close()
        outbox.close()


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it comes true in another process
            await asyncio.sleep(0.01)


def test_alertmanager_has_it_while_it_lasts(
    alertmanager: Callable[[int], Any], port: int, tmp_path: Path
) -> None:
    """With all that an operator needs; it is gone there when it has ended."""
    errors: list[str] = []

    async def main() -> None:
        with alertmanager(port) as there:
            async with postman(tmp_path, errors, alertmanager=(there.url,)) as post:
                post.tell(HUNG, "the policy does not let it be repaired")
                await until(lambda: len(there.alerts()) == 1)
                (alert,) = there.alerts()
                post.over("web-1", "web-1")
                await until(lambda: not there.alerts())
        assert alert["labels"] == {
            "alertname": "guest-hung",
            "vm": "web-1",
            "subject": "web-1",
            "instance": "host-1",
            "severity": "critical",
        }
        assert alert["annotations"] == {
            "summary": "it answers nothing",
            "description": "the policy does not let it be repaired",
        }
        assert alert["startsAt"].startswith("2026-11-25T06:00:00")
        assert alert["status"]["state"] in ("active", "unprocessed")

    asyncio.run(main())
    assert not errors


def test_who_was_away_is_told_when_it_is_back(
    alertmanager: Callable[[int], Any], port: int, tmp_path: Path
) -> None:
    """By the next observer, if the one that wrote it is no more."""
    errors: list[str] = []
    url = f"http://127.0.0.1:{port}"

    async def main() -> None:
        async with postman(tmp_path, errors, alertmanager=(url,)) as post:
            post.tell(HUNG, "no step helped")
            await until(lambda: bool(errors))
        with alertmanager(port) as there:
            async with postman(tmp_path, errors, alertmanager=(url,)):
                await until(lambda: len(there.alerts()) == 1)

    asyncio.run(main())
    assert "cannot be reached" in errors[0]


def test_a_webhook_is_told_once_of_each(tmp_path: Path) -> None:
    """Again if it was not well the first time; in order."""
    heard, errors = Post(503, 429), list[str]()

    async def main() -> None:
        with heard.listening(0) as url:
            async with postman(tmp_path, errors, webhook=(url,)) as post:
                post.tell(HUNG, "no step helped")
                post.over("web-1")
                await until(lambda: len(heard.heard) == 4)

    asyncio.run(main())
    first, again, once_more, over = heard.heard
    assert first == again == once_more
    assert first["why"] == "no step helped"
    assert (first["since"], first["ended"]) == (SINCE, None)
    assert over["ended"] is not None
    assert ["503" in errors[0], "429" in errors[1]] == [True, True]


def test_who_will_never_have_it_is_not_asked_again(tmp_path: Path) -> None:
    """The others still are."""
    refuses, takes, errors = Post(400), Post(), list[str]()

    async def main() -> None:
        with refuses.listening(0) as one, takes.listening(0) as other:
            async with postman(tmp_path, errors, webhook=(one, other)) as post:
                post.tell(HUNG, "no step helped")
                post.over("web-1")
                await until(lambda: len(refuses.heard) == len(takes.heard) == 2)

    asyncio.run(main())
    assert len(errors) == 1
    assert "400" in errors[0]


def test_a_command_reads_the_alert(tmp_path: Path) -> None:
    """On its standard input; one that fails is run again."""
    said, once = tmp_path / "said", tmp_path / "once"
    script = f"cat >> {said}; test -e {once} || {{ touch {once}; exit 3; }}"
    errors: list[str] = []

    async def main() -> None:
        command = (("/bin/sh", "-c", script),)
        async with postman(tmp_path, errors, command=command) as post:
            post.tell(HUNG, "no step helped")
            await until(lambda: said.exists() and said.read_text().count("{") == 2)

    asyncio.run(main())
    first, _, again = said.read_text().partition("}")
    assert json.loads(first + "}")["vm"] == json.loads(again)["vm"] == "web-1"
    assert errors == ["/bin/sh ended with 3."]


def test_a_command_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    """And it waits for its next try."""
    errors: list[str] = []

    async def main() -> None:
        async with postman(tmp_path, errors, command=(("/nowhere/tell",),)) as post:
            post.tell(HUNG, "no step helped")
            await until(lambda: bool(errors))

    asyncio.run(main())
    assert "/nowhere/tell cannot be run" in errors[0]
