# SPDX-License-Identifier: Apache-2.0
"""A registry in memory, on loopback, that keeps to the distribution specification until it is told not to."""

import base64
import contextlib
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from ashore.nouns.image import OCI_INDEX
from tests.fakes.registry_replies import Change, Reply, Seen, digest_of

_ROUTE = re.compile(r"/v2/(?P<name>.+?)/(?P<kind>manifests|blobs/uploads|blobs|referrers)/(?P<last>[^/]*)")
_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]*)")


class _Misbehaviour(msgspec.Struct):
    method: str
    kind: str
    change: Change
    times: int


class FakeRegistry:
    """Serves until closed. `auth` is ``""``, ``"basic"`` or ``"token"``; `realm` is another token server's URL.

    `blobs` and `manifests` are by repository and digest, `tags` by repository and tag: tests write to them.
    """

    def __init__(
        self,
        *,
        auth: str = "",
        user: str = "ann",
        password: str = "s3cret-of-ann",
        realm: str = "",
        certificate: tuple[str, str] | None = None,
        address: str = "127.0.0.1",
        public: bool = False,
    ) -> None:
        self.auth, self.user, self.password, self.public = auth, user, password, public
        self.identity_token = ""
        self.blobs: dict[str, dict[str, bytes]] = {}
        self.manifests: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.tokens: dict[str, set[str]] = {}
        self.seen: list[Seen] = []
        self.least_chunk = 0
        self.takes_chunks = True
        self.lists_referrers = True
        """Else an index under a tag has to do, as the specification says."""
        self.referrers_a_page = 0
        """How many come in one answer; 0: all."""
        self.sent = 0
        """Bytes of answers' bodies."""
        self.cut_uploads: list[int] = []
        """For each of the next PATCHes: how many bytes are kept before the connection is reset."""
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self._misbehaviours: list[_Misbehaviour] = []
        self._server = _Server((address, 0), self, certificate)
        self.host = f"{address}:{self._server.server_address[1]}"
        self.url = f"{'https' if certificate else 'http'}://{self.host}"
        self.realm = realm or f"{self.url}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def misbehave(self, kind: str, change: Change, *, times: int = 1, method: str = "") -> None:
        """Change the next `times` answers of a kind: manifests, blobs, blobs/uploads, token, other or any.

        What was asked for first comes first; an answer is changed once.
        """
        self._misbehaviours.append(_Misbehaviour(method, kind, change, times))

    def behave(self) -> None:
        """Answer rightly from now on, and forget what was asked until now."""
        self._misbehaviours.clear()
        self.seen.clear()

    def changed(self, reply: Reply, method: str, kind: str) -> Reply:
        """`reply` after the misbehaviours that are due."""
        with self.lock:
            for due in self._misbehaviours:
                if due.times > 0 and due.kind in (kind, "any") and due.method in ("", method):
                    due.times -= 1
                    return due.change(reply)
        return reply

    def count(self, method: str, part: str = "") -> int:
        """How many requests of a method had `part` in their path."""
        return sum(1 for seen in self.seen if seen.method == method and part in seen.path)

    def close(self) -> None:
        """Stop serving."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> "FakeRegistry":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], registry: FakeRegistry, certificate: tuple[str, str] | None) -> None:
        self.registry = registry
        self.context: ssl.SSLContext | None = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
        super().__init__(address, _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.context:
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except OSError:
                return
        elif request.recv(1, socket.MSG_PEEK) == b"\x16":
            return  # somebody speaks TLS here
        super().finish_request(request, client_address)
        if self.context:
            with contextlib.suppress(OSError):
                request.unwrap()
            request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up; tests look at what was seen."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Tests ask `seen`."""

    def handle_expect_100(self) -> bool:
        return True

    def _serve(self) -> None:
        registry = self.server.registry
        url = urlsplit(self.path)
        route = _ROUTE.fullmatch(url.path)
        kind = route["kind"] if route else {"/token": "token", "/v2/": "base"}.get(url.path, "other")
        length = int(self.headers.get("Content-Length") or 0)
        cut_at = registry.cut_uploads.pop(0) if self.command == "PATCH" and registry.cut_uploads else None
        body = self.rfile.read(length if cut_at is None else min(length, cut_at))
        registry.seen.append(Seen(self.command, self.path, dict(self.headers.items()), body))
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        scopes = parse_qs(url.query).get("scope", [])
        with registry.lock:
            reply = _Desk(registry, dict(self.headers.items()), query, scopes, body, cut_at is not None).answer(
                self.command, kind, route
            )
        if cut_at is not None:
            self._hang_up(hard=True)
            return
        self._send(registry.changed(reply, self.command, kind))

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - the base class's names

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.endless:
            self.send_header("Transfer-Encoding", "chunked")
        elif reply.framed and "Content-Length" not in reply.headers and "Transfer-Encoding" not in reply.headers:
            self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
        self.end_headers()
        if self.command == "HEAD":
            return
        body = reply.body
        for limit in (reply.cut, reply.stall):
            body = body if limit is None else body[:limit]
        self.server.registry.sent += len(body)
        self.wfile.write(body) if not reply.endless else self._flood(body or b"x" * 1024)
        if reply.stall is not None:
            self.server.registry.closing.wait(30)
        if reply.cut is not None or reply.stall is not None or reply.length is not None or not reply.framed:
            self._hang_up(hard=reply.hard)

    def _flood(self, body: bytes) -> None:
        with contextlib.suppress(OSError):
            while not self.server.registry.closing.is_set():
                self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))

    def _hang_up(self, *, hard: bool) -> None:
        """End the connection; `hard` with a reset, which may swallow what was just sent."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            if hard:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            else:
                self.connection.shutdown(socket.SHUT_WR)


def _grants(scopes: set[str], name: str, right: str) -> bool:
    return any(s.split(":")[1] == name and right in s.split(":")[2].split(",") for s in scopes if s.count(":") == 2)


class _Desk:
    """One request's answer, by the book."""

    def __init__(
        self,
        registry: FakeRegistry,
        headers: Mapping[str, Any],
        query: Mapping[str, str],
        scopes: list[str],
        body: bytes,
        broken: bool,
    ) -> None:
        self.registry, self.headers, self.query = registry, headers, query
        self.scopes, self.body, self.broken = scopes, body, broken

    def answer(self, method: str, kind: str, route: "re.Match[str] | None") -> Reply:
        if kind == "token":
            return self._token(method)
        name = route["name"] if route else ""
        if challenge := self._challenge(method, name, base=kind == "base"):
            return challenge
        if route is None:
            return Reply(200, {}, b"{}")
        last = route["last"]
        if kind == "manifests":
            return self._put_manifest(name, last) if method == "PUT" else self._manifest(name, last)
        if kind == "blobs":
            return self._blob(name, last)
        if kind == "referrers":
            return self._referrers(name, last)
        return self._upload(method, name, last)

    def _challenge(self, method: str, name: str, *, base: bool) -> Reply | None:
        registry, given = self.registry, self.headers.get("Authorization") or ""
        right = "push" if method in {"PUT", "POST", "PATCH", "DELETE"} else "pull"
        if not registry.auth:
            return None
        if registry.auth == "basic":
            wanted = base64.b64encode(f"{registry.user}:{registry.password}".encode()).decode()
            challenge = 'Basic realm="fake"'
            allowed = given == f"Basic {wanted}"
        else:
            challenge = f'Bearer realm="{registry.realm}",service="fake"'
            held = registry.tokens.get(given.removeprefix("Bearer "))
            allowed = held is not None and (base or _grants(held, name, right))
            if name:
                challenge += f',scope="repository:{name}:{"pull,push" if right == "push" else "pull"}"'
        return None if allowed else _problem(401, "UNAUTHORIZED", {"WWW-Authenticate": challenge})

    def _token(self, method: str) -> Reply:
        registry, scopes = self.registry, self.scopes
        basic = base64.b64encode(f"{registry.user}:{registry.password}".encode()).decode()
        if method == "POST":
            form = parse_qs(self.body.decode())
            if not registry.identity_token or form.get("refresh_token") != [registry.identity_token]:
                return _problem(401, "UNAUTHORIZED")
            scopes = form["scope"][0].split(" ")
        elif self.headers.get("Authorization") != f"Basic {basic}" and not registry.public:
            return _problem(401, "UNAUTHORIZED")
        token = f"token-{len(registry.tokens)}"
        registry.tokens[token] = set(scopes)
        return Reply(
            200, {"Content-Type": "application/json"}, json.dumps({"token": token, "expires_in": 300}).encode()
        )

    def _manifest(self, name: str, last: str) -> Reply:
        held = self.registry.manifests.get(name, {})
        digest = last if ":" in last else self.registry.tags.get(name, {}).get(last, "")
        if digest not in held:
            return _problem(404, "MANIFEST_UNKNOWN")
        media_type, data = held[digest]
        return Reply(200, {"Content-Type": media_type, "Docker-Content-Digest": digest}, data)

    def _put_manifest(self, name: str, last: str) -> Reply:
        digest = digest_of(self.body)
        if ":" in last and last != digest:
            return _problem(400, "DIGEST_INVALID")
        document = json.loads(self.body)
        blobs = self.registry.blobs.get(name, {})
        needed = [d["digest"] for d in [document.get("config"), *document.get("layers", [])] if d]
        if any(digest not in blobs for digest in needed):
            return _problem(400, "MANIFEST_BLOB_UNKNOWN")
        self.registry.manifests.setdefault(name, {})[digest] = (self.headers["Content-Type"], self.body)
        if ":" not in last:
            self.registry.tags.setdefault(name, {})[last] = digest
        headers = {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": digest}
        if document.get("subject") and self.registry.lists_referrers:
            headers["OCI-Subject"] = document["subject"]["digest"]
        return Reply(201, headers)

    def _blob(self, name: str, digest: str) -> Reply:
        data = self.registry.blobs.get(name, {}).get(digest)
        if data is None:
            return _problem(404, "BLOB_UNKNOWN")
        headers = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        wanted = _RANGE.fullmatch(self.headers.get("Range") or "")
        if not wanted:
            return Reply(200, headers, data)
        start, end = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
        if start > end:
            return Reply(416)
        return Reply(206, headers | {"Content-Range": f"bytes {start}-{end}/{len(data)}"}, data[start : end + 1])

    def _referrers(self, name: str, digest: str) -> Reply:
        if not self.registry.lists_referrers:
            return Reply(404, {"Content-Type": "text/plain"}, b"404 page not found")
        found = []
        for held, (media_type, data) in self.registry.manifests.get(name, {}).items():
            document = json.loads(data)
            if (document.get("subject") or {}).get("digest") == digest:
                described = {"mediaType": media_type, "digest": held, "size": len(data)}
                found.append(
                    described | {key: document[key] for key in ("artifactType", "annotations") if key in document}
                )
        headers = {"Content-Type": OCI_INDEX}
        if wanted := self.query.get("artifactType"):
            found = [entry for entry in found if entry.get("artifactType") == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
        if self.registry.referrers_a_page:
            start = int(self.query.get("start", "0"))
            end = start + self.registry.referrers_a_page
            if end < len(found):
                headers["Link"] = f'</v2/{name}/referrers/{digest}?start={end}>; rel="next"'
            found = found[start:end]
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
        return Reply(200, headers, json.dumps(index).encode())

    def _upload(self, method: str, name: str, last: str) -> Reply:
        registry, uploads = self.registry, self.registry.uploads
        if method == "POST":
            mounted = registry.blobs.get(self.query.get("from", ""), {}).get(self.query.get("mount", ""))
            if mounted is not None:
                registry.blobs.setdefault(name, {})[self.query["mount"]] = mounted
                return Reply(201, {"Docker-Content-Digest": self.query["mount"]})
            number = str(len(uploads))
            uploads[number] = bytearray()
            least = {"OCI-Chunk-Min-Length": str(registry.least_chunk)} if registry.least_chunk else {}
            return self._at(202, name, number, least)
        if last not in uploads:
            return _problem(404, "BLOB_UPLOAD_UNKNOWN")
        held = uploads[last]
        if method == "GET":
            return self._at(204, name, last)
        if method == "DELETE":
            del uploads[last]
            return Reply(204)
        if method == "PATCH":
            return self._patch(name, last, held)
        held += self.body
        data, digest = bytes(uploads.pop(last)), self.query["digest"]
        if digest_of(data) != digest:
            return _problem(400, "DIGEST_INVALID")
        registry.blobs.setdefault(name, {})[digest] = data
        return Reply(201, {"Docker-Content-Digest": digest, "Location": f"/v2/{name}/blobs/{digest}"})

    def _patch(self, name: str, last: str, held: bytearray) -> Reply:
        if not self.registry.takes_chunks:
            return _problem(405, "UNSUPPORTED")
        start = int((self.headers.get("Content-Range") or "0-").partition("-")[0])
        if start != len(held):
            return self._at(416, name, last)
        held += self.body
        return self._at(202, name, last)

    def _at(self, status: int, name: str, number: str, headers: Mapping[str, str] | None = None) -> Reply:
        end = max(len(self.registry.uploads[number]) - 1, 0)
        place = f"/v2/{name}/blobs/uploads/{number}?_state=abc"
        return Reply(status, {"Location": place, "Range": f"0-{end}", **(headers or {})})


def _problem(status: int, code: str, headers: Mapping[str, str] | None = None) -> Reply:
    body = json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode()
    return Reply(status, {"Content-Type": "application/json", **(headers or {})}, body)
