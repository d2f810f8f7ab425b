# SPDX-License-Identifier: Apache-2.0
"""A server that speaks Keystone's API v3 and Masakari's v1.

Its judge is Masakari's own schema (masakari/api/openstack/ha/schemas), restated.
"""

from __future__ import annotations

import json
import threading
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import iso8601
import jsonschema
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROJECT, TOKEN = "4c8e", "gAAAA-token"
APPLICATION = {"id": "21dced0fd20347869b93710d2b98aae0", "secret": "rEaqvJka48mp"}

TEXT = {"type": "string", "minLength": 1, "maxLength": 255}
NOTIFICATION = {
    "type": "object",
    "properties": {
        "notification": {
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": ["COMPUTE_HOST", "VM", "PROCESS"]},
                "hostname": {**TEXT, "pattern": "^[a-zA-Z0-9-._]*$"},
                "generated_time": {"type": "string", "format": "date-time"},
                "payload": {
                    "type": "object",
                    "properties": {
                        "instance_uuid": {"type": "string", "format": "uuid"},
                        "vir_domain_event": TEXT,
                        "event": TEXT,
                    },
                    "required": ["instance_uuid", "vir_domain_event", "event"],
                    "additionalProperties": False,
                },
            },
            "required": ["type", "hostname", "generated_time", "payload"],
            "additionalProperties": False,
        }
    },
    "required": ["notification"],
    "additionalProperties": False,
}
FORMATS = jsonschema.FormatChecker(())
FORMATS.checks("uuid", ValueError)(lambda text: bool(uuid.UUID(text)))
FORMATS.checks("date-time", iso8601.ParseError)(iso8601.parse_date)
VALID = jsonschema.Draft4Validator(NOTIFICATION, format_checker=FORMATS)
# Those that its engine acts on (masakari/engine/instance_events.py).
ACTED_ON = {"LIFECYCLE": ["STOPPED_FAILED"], "IO_ERROR": ["IO_ERROR_REPORT"]}


class Cloud:
    """Keystone and Masakari at one address; Masakari answers with these codes first."""

    def __init__(self, *codes: int) -> None:
        self.codes, self.heard = list(codes), list[dict[str, Any]]()
        self.logins, self.url = 0, ""

    def answer(
        self, method: str, path: str, token: str | None, body: Any
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers and body."""
        match method, path.rstrip("/"):
            case "GET", "/identity/v3":
                link = {"rel": "self", "href": f"{self.url}/identity/v3/"}
                said = {"id": "v3.14", "status": "stable", "links": [link]}
                return 200, {}, {"version": said}
            case "POST", "/identity/v3/auth/tokens":
                return self._log_in(body["auth"])
            case "GET", "/instance-ha/v1/4c8e":  # none: Masakari asks for a token first
                return 401, {}, {}
            case "POST", "/instance-ha/v1/4c8e/notifications":
                return self._notify(token, body)
        return 404, {}, {"error": {"message": f"{method} {path}"}}

    def _log_in(self, auth: Any) -> tuple[int, dict[str, str], Any]:
        self.logins += 1
        identity = auth["identity"]
        given = identity.get("application_credential")
        if identity["methods"] != ["application_credential"] or given != APPLICATION:
            return 401, {}, {"error": {"code": 401, "message": "who are you?"}}
        endpoint = {
            "id": "e1",
            "interface": "public",
            "region": "one",
            "region_id": "one",
            "url": f"{self.url}/instance-ha/v1/{PROJECT}",
        }
        service = {"id": "s1", "type": "instance-ha", "name": "masakari"}
        now = datetime.now(UTC)
        said = {
            "methods": ["application_credential"],
            "user": {"id": "u1", "name": "observer", "domain": {"id": "default"}},
            "project": {"id": PROJECT, "name": "service", "domain": {"id": "default"}},
            "issued_at": now.isoformat(),
            "expires_at": (now + timedelta(hours=1)).isoformat(),
            "catalog": [{**service, "endpoints": [endpoint]}],
        }
        return 201, {"X-Subject-Token": TOKEN}, {"token": said}

    def _notify(self, token: str | None, body: Any) -> tuple[int, dict[str, str], Any]:
        if token != TOKEN:
            return 401, {}, {}
        wrong = [error.message for error in VALID.iter_errors(body)]
        code = self.codes.pop(0) if self.codes else 400 if wrong else 202
        if code != 202:
            kind = {"code": code, "message": "; ".join(wrong) or f"code {code}"}
            return code, {}, {"badRequest": kind}
        self.heard.append(body["notification"])
        made = {"notification_uuid": str(uuid.uuid4()), "status": "new"}
        return 202, {}, {"notification": body["notification"] | made}

    @contextmanager
    def listening(self) -> Iterator[None]:
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer("GET", None)

            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                self._answer("POST", json.loads(self.rfile.read(size)))

            def _answer(self, method: str, body: Any) -> None:
                token = self.headers.get("X-Auth-Token")
                code, headers, said = cloud.answer(method, self.path, token, body)
                words = json.dumps(said).encode()
                self.send_response(code)
                for name, value in {
                    **headers,
                    "Content-Type": "application/json",
                    "Content-Length": str(len(words)),
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(words)

            def log_message(self, *_: Any) -> None:
                """Nothing: pytest's output is for failures."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            self.url = f"http://127.0.0.1:{server.server_port}"
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


def write_clouds(path: Path, url: str, secret: str = APPLICATION["secret"]) -> None:
    """A clouds.yaml with an application credential for a cloud called `ours`."""
    told = {
        "auth_type": "v3applicationcredential",
        "auth": {
            "auth_url": f"{url}/identity/v3",
            "application_credential_id": APPLICATION["id"],
            "application_credential_secret": secret,
        },
        "region_name": "one",
    }
    path.write_text(yaml.safe_dump({"clouds": {"ours": told}}))
