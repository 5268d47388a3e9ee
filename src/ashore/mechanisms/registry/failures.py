# SPDX-License-Identifier: Apache-2.0
"""What went wrong, in words: from a connection's fault or a registry's answer to an error with a remedy."""

import msgspec

from ashore.errors import NOT_DECODED, RegistryError
from ashore.mechanisms.registry import retry
from ashore.mechanisms.registry.messages import Fault, Response
from ashore.nouns.files import printable

_LONGEST = 300


class _Problem(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Problems(msgspec.Struct):
    errors: list[_Problem] = []
    details: str = ""


class NotFoundError(RegistryError):
    """404: the registry does not have it."""


class DeniedError(RegistryError):
    """401 or 403."""


class BusyRegistryError(RegistryError):
    """It answers, but not now: a limit, or troubles of its own."""


class UnreachableError(RegistryError):
    """Nobody answered."""


def of_fault(fault: Fault, name: str) -> RegistryError:
    """The error for a request that got no answer. `name` is the registry as the user wrote it."""
    host = fault.url.host_port
    asked = f"{name} (at {host})" if host != name else name
    if fault.proxy:
        asked += f" (through the proxy {printable(fault.proxy)})"
    if fault.kind == "certificate":
        return UnreachableError(
            f"{asked}: its certificate is not trusted",
            cause=fault.text,
            remedy=f"put its authority into /etc/containers/certs.d/{host}/ca.crt"
            f" (or SSL_CERT_FILE), or set insecure = true for it in registries.conf",
        )
    if fault.kind == "not-tls":
        return UnreachableError(
            f"{asked}: {fault.text}",
            remedy="plain http is used for loopback registries only; set insecure = true for it in registries.conf",
        )
    through = f"check {fault.url.scheme.upper()}_PROXY, and NO_PROXY, which lists what is asked directly"
    if fault.kind == "proxy":
        return UnreachableError(f"{asked}: the proxy refuses", cause=printable(fault.text), remedy=through)
    words = {
        "dns": "no such host",
        "refused": "connection refused",
        "reset": "the connection broke",
        "timeout": "it does not answer in time",
    }
    remedies = {
        "dns": "check the name, and that DNS works",
        "refused": "check that the registry runs, and its port",
        "tls": "check the registry's TLS settings and client certificates in certs.d",
    }
    cause = "" if fault.kind in {"refused", "reset"} or fault.text == "no answer in time" else fault.text
    message = f"{asked}: {words.get(fault.kind, 'no usable answer')}"
    # Whatever comes before TLS is the proxy's, and of plain http it cannot be told whose it is.
    remedy = through if fault.proxy and fault.kind != "tls" else remedies.get(fault.kind, "check the network")
    return UnreachableError(message, cause=printable(cause), remedy=remedy)


def of_answer(response: Response, what: str, *, name: str, limit: int, looked_at: str) -> RegistryError:
    """The error for an answer that was not hoped for; reads at most `limit` of its body, and closes it.

    `what` is the request in words: ``pull reg/worker:1``. `name` is what to log in to.
    """
    status, said = response.status, _said(response, limit)
    if status in {401, 403}:
        return DeniedError(
            f"cannot {what}: {'not logged in, or a wrong password' if status == 401 else 'not allowed'} ({status})",
            cause=said,
            remedy=f"ashore login {name} (credentials are read from {looked_at})",
        )
    if status == 404:
        return NotFoundError(f"cannot {what}: not found", cause=said, remedy="check the name, and that you may see it")
    if status == 429:
        remedy = "wait, or log in: registries allow more to users they know"
        return BusyRegistryError(
            f"cannot {what}: the registry allows no more requests now (429)", cause=said, remedy=remedy
        )
    remedy = (
        "try again later, or ask who runs it" if status >= 500 else "check that this is a registry (OCI, or Docker v2)"
    )
    kind = BusyRegistryError if status in retry.STATUSES else RegistryError
    return kind(f"cannot {what}: the registry answers {status}", cause=said, remedy=remedy)


def _said(response: Response, limit: int) -> str:
    """The registry's own words (distribution-spec, "Error codes"): escaped and cut, since a stranger wrote them."""
    try:
        body = response.read(limit)[:limit]
    except Fault:
        return ""
    finally:
        response.close()
    try:
        problems = msgspec.json.decode(body, type=_Problems)
        text = "; ".join(": ".join(filter(None, (p.code, p.message))) for p in problems.errors[:3]) or problems.details
    except NOT_DECODED:
        kind = response.header("Content-Type")
        text = body.decode(errors="replace") if kind.startswith("text/plain") else ""
    text = printable(" ".join(text.split()))
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
