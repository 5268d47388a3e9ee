# SPDX-License-Identifier: Apache-2.0
"""What a registry may do to those who ask it. 4: it is the registry's fault; 5: it is not what was published."""

import json
from collections.abc import Callable

import msgspec

from tests.fakes import registry_replies as replies
from tests.fakes.registry_replies import Change
from tests.hostile.registries.world import REPOSITORY, TAG, Behave, Behaviour, Raw, World

ALWAYS = 1000
OK, REGISTRY, WRONG, INPUT = (0,), (4,), (5,), (3,)


def does(kind: str, change: Change, times: int = 1, method: str = "GET") -> Behave:
    return lambda world: world.home.misbehave(kind, change, times=times, method=method)


def once(kind: str, change: Change, codes: tuple[int, ...] = OK, auth: str = "token") -> Behaviour:
    return Behaviour(does(kind, change), codes, auth)


def always(kind: str, change: Change, codes: tuple[int, ...] = REGISTRY, auth: str = "token") -> Behaviour:
    return Behaviour(does(kind, change, ALWAYS, ""), codes, auth)


def elsewhere(kind: str, path: Callable[[World], str], codes: tuple[int, ...], **more: object) -> Behaviour:
    """The first answer of a kind sends the client to the stranger."""

    def send(world: World) -> None:
        if path is blob:
            config_first(world)
        world.home.misbehave(kind, replies.redirected(path(world)), times=ALWAYS)

    return Behaviour(send, codes, **more)  # type: ignore[arg-type]


def realm(text: str, codes: tuple[int, ...] = REGISTRY, tls: bool = False) -> Behaviour:
    """The registry names another token server; ``STRANGER`` stands for the stranger's address."""

    def name(world: World) -> None:
        world.home.realm = text.replace("STRANGER", world.stranger.host)

    return Behaviour(name, codes, tls=tls)


def challenge(text: str) -> Behaviour:
    return always("any", replies.answer(401, {"WWW-Authenticate": text}))


def raw(says: bytes, *, endless: bool = False, hang: bool = False) -> Behaviour:
    """Not the registry answers at its address but something else."""

    def replace(world: World) -> None:
        server = Raw(says, endless=endless, hang=hang)
        world.address = f"{server.host}/{REPOSITORY}:{TAG}"

    return Behaviour(replace, REGISTRY)


def moved_tag(world: World) -> None:
    """The tag names another image at each question; the digest that it named first is kept to."""
    digest, _ = world.image
    media_type, data = world.home.manifests[REPOSITORY][digest]
    other = json.dumps(json.loads(data) | {"annotations": {"moved": "yes"}}).encode()
    world.home.manifests[REPOSITORY][replies.digest_of(other)] = (media_type, other)
    world.home.misbehave("manifests", lambda reply: _tag_again(world, reply), times=1, method="")
    world.home.tags[REPOSITORY][TAG] = digest


def _tag_again(world: World, reply: replies.Reply) -> replies.Reply:
    world.home.tags[REPOSITORY][TAG] = "sha256:" + "0" * 64
    return reply


def swapped(world: World) -> None:
    """By digest, another manifest comes than the one that was asked for."""
    digest, _ = world.image
    media_type, data = world.home.manifests[REPOSITORY][digest]
    world.home.manifests[REPOSITORY][digest] = (media_type, data + b" ")
    world.home.misbehave("manifests", replies.with_headers(Docker_Content_Digest=digest), times=ALWAYS)


def closed(world: World) -> None:
    world.home.close()


def resumed(change: Change, codes: tuple[int, ...] = OK) -> Behaviour:
    """The layer breaks in the middle, and the rest comes changed."""

    def breaks(world: World) -> None:
        config_first(world)
        world.home.misbehave("blobs", replies.cut(HALF))
        world.home.misbehave("blobs", change, times=ALWAYS)

    return Behaviour(breaks, codes)


def config_first(world: World) -> None:
    """What comes next is for the layer: the config, which is asked for before, stays as it is."""
    world.home.misbehave("blobs", lambda reply: reply)


def blob(world: World) -> str:
    return f"{world.stranger.url}/v2/{REPOSITORY}/blobs/{world.image[1]}"


def manifest(world: World) -> str:
    return f"{world.stranger.url}/v2/{REPOSITORY}/manifests/{world.image[0]}"


def wanting(kind: str) -> Behave:
    """The stranger wants to know who asks."""

    def ask(world: World) -> None:
        world.stranger.auth = kind
        world.home.misbehave("blobs", replies.redirected(blob(world)), times=ALWAYS)

    return ask


HALF = 100_000
DEEP = b"[" * 100_000 + b"]" * 100_000
HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n"

REDIRECTS: dict[str, Behaviour] = {
    "a blob elsewhere": elsewhere("blobs", blob, OK),
    "a blob elsewhere, by password": elsewhere("blobs", blob, OK, auth="basic"),
    "a manifest elsewhere": elsewhere("manifests", manifest, OK),
    "elsewhere, where a password is wanted": Behaviour(wanting("basic"), REGISTRY),
    "elsewhere, where a token is wanted": Behaviour(wanting("token"), REGISTRY),
    "elsewhere, where a password is wanted, by password": Behaviour(wanting("basic"), REGISTRY, "basic"),
    "a circle": elsewhere("blobs", lambda w: f"/v2/{REPOSITORY}/blobs/{w.image[1]}", REGISTRY),
    "to a name that is not there": elsewhere("blobs", lambda w: "http://no-such-host.invalid/x", REGISTRY),
    "to the machine's own metadata": elsewhere("blobs", lambda w: "http://169.254.169.254/latest/meta-data", REGISTRY),
    "to a file": elsewhere("blobs", lambda w: "file:///etc/shadow", REGISTRY),
    "to a script": elsewhere("blobs", lambda w: "javascript:alert(1)", REGISTRY),
    "to an FTP server": elsewhere("manifests", lambda w: "ftp://stranger.example/x", REGISTRY),
    "with a password in it": elsewhere("blobs", lambda w: blob(w).replace("http://", "http://u:p@"), REGISTRY),
    "to nowhere": once("blobs", replies.answer(302), REGISTRY),
    "to a line break": once("blobs", replies.redirected("/a%0d%0aX:b"), (0, 4)),
    "from https to http": elsewhere("blobs", blob, REGISTRY, tls=True),
    "from https to http, the manifest": elsewhere("manifests", manifest, REGISTRY, tls=True),
}

TOKENS: dict[str, Behaviour] = {
    "a token server elsewhere": realm("http://STRANGER/token"),
    "a token server elsewhere, from https": realm("http://STRANGER/token", tls=True),
    "a token server in a file": realm("file:///etc/shadow"),
    "a token server with a password": realm("http://u:p@STRANGER/token"),
    "a token server that is the metadata server": realm("http://169.254.169.254/latest"),
    "a token server that is nothing": realm(""),
    "a token server that is noise": realm("\x7f::://"),
    "a challenge of no known kind": challenge("Negotiate"),
    "a challenge of noise": challenge('Bearer realm="unfinished, =, ,, "'),
    "a challenge of 60 kB": challenge("Bearer " + "a=b," * 15_000),
    "no challenge at all": always("any", replies.answer(401)),
    "401 for every token": challenge('Basic realm="again"'),
    "403": always("any", replies.answer(403, {}, b'{"errors":[{"code":"DENIED","message":"\x1b[2Jno"}]}')),
    "401 for blobs only": always("blobs", replies.answer(401, {"WWW-Authenticate": "Basic"})),
    "a token of nothing": always("token", replies.answer(200, {}, b"{}")),
    "a token that is no JSON": always("token", replies.answer(200, {}, b"<html>")),
    "a token with a line break": always("token", replies.answer(200, {}, b'{"token":"a\\r\\nX-Evil: b"}')),
    "a token of 2 MiB": always("token", replies.answer(200, {}, b'{"token":"' + b"a" * (2 << 20) + b'"}')),
    "a token nested deep": always("token", replies.answer(200, {}, b'{"token":"a","x":' + DEEP + b"}")),
    "an endless token": always("token", replies.endless),
    "a token that stalls": always("token", replies.stalled(3)),
    "a token cut off": always("token", replies.cut(3)),
    "a token elsewhere": elsewhere("token", lambda w: f"{w.stranger.url}/token", REGISTRY),
    "a token that is none for ever": always("token", replies.answer(500)),
    "a token of negative life": always("token", lambda r: replies.Reply(
        200, {}, json.dumps(json.loads(r.body) | {"expires_in": -1e300}).encode()), OK),
    "a token of endless life": always("token", lambda r: replies.Reply(
        200, {}, json.dumps(json.loads(r.body) | {"expires_in": 1e300}).encode()), OK),
}  # fmt: skip

MANIFESTS: dict[str, Behaviour] = {
    "a tag that moves between two questions": Behaviour(moved_tag, OK, ""),
    "another manifest under the digest": Behaviour(swapped, (4, 5)),
    "a digest in a header that lies": always("manifests", replies.with_headers(
        Docker_Content_Digest="sha256:" + "0" * 64), (0, 4, 5)),
    "a digest in a header that leads out": always("manifests", replies.with_headers(
        Docker_Content_Digest="sha256:../../etc/shadow"), (0, 4, 5)),
    "a manifest of other bytes": always(
        "manifests", replies.altered(lambda b: b.replace(b"layers", b"Layers")), (3, 5)),
    "a manifest cut off": always("manifests", replies.cut(20)),
    "a manifest cut off once": once("manifests", replies.cut(20)),
    "a manifest cut off hard": always("manifests", replies.cut(20, hard=True)),
    "a manifest that stalls": always("manifests", replies.stalled(20)),
    "an endless manifest": always("manifests", replies.endless, (3, 4)),
    "a manifest of 5 MiB": always("manifests", replies.altered(lambda b: b + b" " * (5 << 20)), (3, 4, 5)),
    "a manifest of another type": always("manifests", replies.with_headers(Content_Type="text/html"), (3, 5)),
    "a manifest of no type": always("manifests", replies.with_headers(Content_Type=""), (0, 3, 4)),
    "a page that greets": always("manifests", replies.answer(200, {"Content-Type": "text/html"}, b"<h1>hello"), (3, 4)),
    "nothing": always("manifests", replies.answer(204), (3, 4)),
    "a manifest nested deep": always("manifests", replies.altered(lambda b: b'{"x":' + DEEP + b"}"), (3, 5)),
    "an error nested deep": always("manifests", replies.answer(418, {}, b'{"errors":' + DEEP[:30_000])),
    "half of it, unasked": always("manifests", replies.answer(206, {}, b"{"), (3, 4)),
    "not modified": always("manifests", replies.answer(304), REGISTRY),
    "gone": always("manifests", replies.answer(410), REGISTRY),
    "404": always("manifests", replies.answer(404, {}, b"\x1b]0;owned\x07 not here"), REGISTRY),
    "a status that nobody knows": always("manifests", replies.answer(799), REGISTRY),
    "500 once": once("manifests", replies.answer(500)),
    "500 always": always("any", replies.answer(500)),
    "429, in a second": once("manifests", replies.answer(429, {"Retry-After": "1"})),
    "429, in a billion seconds": once("manifests", replies.answer(429, {"Retry-After": "1000000000"})),
    "429, at a date": once("manifests", replies.answer(429, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"})),
    "429, in a while": once("manifests", replies.answer(429, {"Retry-After": "a while"})),
    "429, without a word": once("manifests", replies.answer(429)),
    "429 always": always("any", replies.answer(429, {"Retry-After": "0"})),
    "503 always, until later": always("any", replies.answer(503, {"Retry-After": "99999"})),
}  # fmt: skip

BLOBS: dict[str, Behaviour] = {
    "other bytes": always("blobs", replies.altered(lambda b: bytes(len(b))), WRONG),
    "one bit": always("blobs", replies.altered(lambda b: b[:-1] + bytes([b[-1] ^ 1])), WRONG),
    "a byte less": always("blobs", replies.altered(lambda b: b[:-1]), (4, 5)),
    "a byte more": always("blobs", replies.altered(lambda b: b + b"x"), WRONG),
    "endless bytes": always("blobs", replies.endless, (4, 5)),
    "no bytes": always("blobs", replies.altered(lambda b: b""), (4, 5)),
    "compressed on the way": always("blobs", replies.with_headers(Content_Encoding="gzip"), (0, 4, 5)),
    "a length that is too long": always("blobs", lambda r: msgspec.structs.replace(r, length=len(r.body) + 9), (4, 5)),
    "a length that is too short": always("blobs", lambda r: msgspec.structs.replace(r, length=9), (4, 5)),
    "a length that is negative": always("blobs", replies.with_headers(Content_Length="-5"), (0, 4, 5)),
    "a length that is noise": always("blobs", replies.with_headers(Content_Length="many"), (0, 4, 5)),
    "broken before the first byte": once("blobs", replies.cut(0)),
    "broken after the first byte": once("blobs", replies.cut(1)),
    "broken in the middle": once("blobs", replies.cut(HALF)),
    "broken before the last byte": once("blobs", lambda r: replies.cut(len(r.body) - 1)(r)),
    "reset in the middle": once("blobs", replies.cut(HALF, hard=True)),
    "broken each time at once": always("blobs", replies.cut(0)),
    "silent in the middle": once("blobs", replies.stalled(HALF)),
    "silent each time": always("blobs", replies.stalled(0)),
    "404": always("blobs", replies.answer(404)),
    "a part that was not asked for": Behaviour(lambda w: w.home.misbehave("blobs", lambda r: replies.Reply(
        206, {"Content-Range": f"bytes 5-9/{len(r.body)}"}, r.body[5:10]), times=ALWAYS), (4, 5)),
    "resumed with the whole": resumed(lambda r: r),
    "resumed with another part": resumed(replies.with_headers(Content_Range="bytes 7-199999/200000"), (0, 4, 5)),
    "resumed with noise for a range": resumed(replies.with_headers(Content_Range="bytes a lot"), (0, 4, 5)),
    "resumed with nothing to give": resumed(replies.answer(416), (0, 4, 5)),
    "resumed with other bytes": resumed(replies.altered(lambda b: bytes(len(b))), (4, 5)),
}  # fmt: skip

SERVERS: dict[str, Behaviour] = {
    "nobody listens": Behaviour(closed, REGISTRY),
    "silence": raw(b"", hang=True),
    "hangs up at once": raw(b""),
    "noise": raw(bytes(range(256)) * 10),
    "another protocol": raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "endless noise": raw(b"\xff" * 4096, endless=True),
    "an endless status line": raw(b"HTTP/1.1 200 " + b"O" * 4096, endless=True),
    "a status of four digits": raw(b"HTTP/1.1 9999 No\r\n\r\n"),
    "a status that is no number": raw(b"HTTP/1.1 abc No\r\n\r\n"),
    "endless headers": raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500, endless=True),
    "a header of a megabyte": raw(HTTP + b"X: " + b"y" * (1 << 20) + b"\r\n\r\n"),
    "a header without an end": raw(HTTP, hang=True),
    "chunks of noise": raw(HTTP + b"Transfer-Encoding: chunked\r\n\r\nzzz\r\nhello\r\n"),
    "a chunk of 2^63": raw(HTTP + b"Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n{", hang=True),
    "a negative chunk": raw(HTTP + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n"),
    "for ever 100 Continue": raw(b"HTTP/1.1 100 Continue\r\n\r\n", endless=True),
    "switching protocols": raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    "a byte each while": raw(HTTP + b"Content-Length: 100000\r\n\r\n{", hang=True),
    "a certificate of nobody's": Behaviour(lambda w: setattr(w, "trusted", None), REGISTRY, tls=True),
    "a certificate of another name": Behaviour(
        lambda w: setattr(w, "address", w.address.replace("127.0.0.1", "127.0.0.2")), REGISTRY, tls=True
    ),
}

TABLES = {"redirect": REDIRECTS, "token": TOKENS, "manifest": MANIFESTS, "blob": BLOBS, "server": SERVERS}
BEHAVIOURS: dict[str, Behaviour] = {f"{t}: {n}": b for t, table in TABLES.items() for n, b in table.items()}
