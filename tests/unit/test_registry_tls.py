# SPDX-License-Identifier: Apache-2.0
"""TLS: who is trusted, when plain http will do, proxies, and servers that only drip."""

import base64
import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ashore.errors import InputError, RegistryError, UsageError
from ashore.mechanisms.registry.urls import parse as parse_url
from ashore.mechanisms.registry.wire import fault_of
from ashore.nouns import digest as digests
from tests.fakes import registry_replies as replies
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_client import LIMITS, blob_of, drain, open_at, settings_in

LAYER = b"layer" * 1000
Pair = tuple[str, str]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A self-signed certificate for localhost and 127.0.0.1, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    crt, key = str(folder / "server.crt"), str(folder / "server.key")
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*make, *names, "-keyout", key, "-out", crt], check=True, capture_output=True)
    return crt, key


@pytest.fixture
def tls(certificate: Pair) -> Iterator[FakeRegistry]:
    with FakeRegistry(certificate=certificate) as fake:
        replies.put_image(fake, "team/app", "1.0", LAYER)
        yield fake


@pytest.fixture
def plain() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        replies.put_image(fake, "team/app", "1.0", LAYER)
        yield fake


def _write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_an_unknown_authority_is_refused_with_the_remedy(tls: FakeRegistry, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="certificate is not trusted") as caught:
        open_at(f"{tls.host}/team/app:1.0", settings_in(str(tmp_path))).resolve()
    assert f"certs.d/{tls.host}" in caught.value.remedy
    assert "insecure = true" in caught.value.remedy
    assert tls.seen == []


@pytest.mark.parametrize("folder", ["etc/containers/certs.d", "etc/docker/certs.d"])
def test_certs_d_adds_an_authority_for_one_host(
    tls: FakeRegistry, certificate: Pair, tmp_path: Path, folder: str
) -> None:
    shutil.copy(certificate[0], _made(tmp_path / folder / tls.host) / "ca.crt")
    settings = settings_in(str(tmp_path))
    repository = open_at(f"{tls.host}/team/app:1.0", settings)
    repository.resolve()
    assert drain(repository.blob(blob_of(LAYER))) == LAYER
    with FakeRegistry(certificate=certificate) as other, pytest.raises(RegistryError, match="not trusted"):
        open_at(f"{other.host}/team/app:1.0", settings).resolve()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def test_ssl_cert_file_is_used(tls: FakeRegistry, certificate: Pair, tmp_path: Path) -> None:
    settings = settings_in(str(tmp_path), environ={"SSL_CERT_FILE": certificate[0]})
    open_at(f"{tls.host}/team/app:1.0", settings).resolve()


def test_a_certificate_for_another_name(tls: FakeRegistry, certificate: Pair, tmp_path: Path) -> None:
    settings = settings_in(str(tmp_path), environ={"SSL_CERT_FILE": certificate[0]})
    host = tls.host.replace("127.0.0.1", "127.0.0.2")
    with FakeRegistry(certificate=certificate, address="127.0.0.2") as other:
        host = other.host
        with pytest.raises(RegistryError, match="certificate is not trusted"):
            open_at(f"{host}/team/app:1.0", settings).resolve()


def test_broken_certificate_files_are_named(tls: FakeRegistry, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="SSL_CERT_FILE"):
        environ = {"SSL_CERT_FILE": str(tmp_path / "missing.pem")}
        open_at(f"{tls.host}/team/app:1.0", settings_in(str(tmp_path), environ=environ)).resolve()
    _write(tmp_path, f"etc/containers/certs.d/{tls.host}/ca.crt", "not a certificate")
    with pytest.raises(InputError, match=r"ca\.crt"):
        open_at(f"{tls.host}/team/app:1.0", settings_in(str(tmp_path))).resolve()


@pytest.mark.parametrize("link", ["certs.d", "certs.d/HOST", "certs.d/HOST/ca.crt"])
def test_certs_d_is_looked_for_below_the_root(tls: FakeRegistry, certificate: Pair, tmp_path: Path, link: str) -> None:
    shutil.copy(certificate[0], _made(tmp_path / "usr/share/certs.d" / tls.host) / "ca.crt")
    path = tmp_path / "etc/containers" / link.replace("HOST", tls.host)
    path.parent.mkdir(parents=True)
    path.symlink_to(f"/usr/share/{link.replace('HOST', tls.host)}")
    open_at(f"{tls.host}/team/app:1.0", settings_in(str(tmp_path))).resolve()


def test_a_fifo_in_certs_d_does_not_hang(tls: FakeRegistry, tmp_path: Path) -> None:
    os.mkfifo(_made(tmp_path / "etc/containers/certs.d" / tls.host) / "ca.crt")
    with pytest.raises(InputError, match=r"ca\.crt"):
        open_at(f"{tls.host}/team/app:1.0", settings_in(str(tmp_path))).resolve()


@pytest.mark.parametrize(
    ("name", "folders", "read"),
    [
        ("reg.example:443", ("reg.example", "reg.example:443"), "reg.example:443"),
        ("reg.example:443", ("reg.example",), "reg.example"),
        ("reg.example", ("reg.example", "reg.example:443"), "reg.example"),
        ("reg.example", ("reg.example:443",), ""),
    ],
)
def test_certs_d_has_the_host_as_it_is_written(tmp_path: Path, name: str, folders: Pair, read: str) -> None:
    for folder in folders:
        _write(tmp_path, f"etc/containers/certs.d/{folder}/ca.crt", "not a certificate")
    settings = settings_in(str(tmp_path), environ={"HTTPS_PROXY": "http://127.0.0.1:1"})
    with pytest.raises((InputError, RegistryError)) as caught:
        open_at(f"{name}/team/app:1.0", settings).resolve()
    assert f"certs.d/{read}/ca.crt cannot be used" in str(caught.value) if read else "refused" in str(caught.value)


def test_a_client_certificate_without_its_key(tls: FakeRegistry, certificate: Pair, tmp_path: Path) -> None:
    shutil.copy(certificate[0], _made(tmp_path / "etc/containers/certs.d" / tls.host) / "client.cert")
    with pytest.raises(InputError, match=r"client\.cert"):
        open_at(f"{tls.host}/team/app:1.0", settings_in(str(tmp_path))).resolve()


def test_insecure_takes_any_certificate(tls: FakeRegistry, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="not trusted"):
        open_at(f"{tls.host}/team/app:1.0", settings_in(str(tmp_path))).resolve()
    _mark_insecure(tmp_path, tls.host)
    open_at(f"{tls.host}/team/app:1.0", settings_in(str(tmp_path))).resolve()


def test_loopback_may_speak_plain_http(plain: FakeRegistry, tmp_path: Path) -> None:
    open_at(f"{plain.host}/team/app:1.0", settings_in(str(tmp_path))).resolve()


def _mark_insecure(root: Path, host: str) -> None:
    _write(root, "etc/containers/registries.conf", f'[[registry]]\nlocation = "{host}"\ninsecure = true\n')


def _own_address() -> str:
    """An address of this machine that is not loopback; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return ""


@pytest.mark.parametrize("ended", [ssl.SSLEOFError(8, "x"), ssl.SSLZeroReturnError(6, "x")], ids=repr)
def test_a_handshake_that_ends_early_is_no_tls(ended: ssl.SSLError) -> None:
    """Debian's Python says the second where others say the first."""
    assert fault_of(ended)[0] == "not-tls"


def test_elsewhere_plain_http_needs_insecure(tmp_path: Path) -> None:
    address = _own_address()
    if not address or address.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    with FakeRegistry(address=address, auth="basic") as fake:
        replies.put_image(fake, "team/app", "1.0", LAYER)
        settings = settings_in(str(tmp_path), credentials={fake.host: (fake.user, fake.password)})
        with pytest.raises(RegistryError):
            open_at(f"{fake.host}/team/app:1.0", settings).resolve()
        assert fake.seen == []
        _mark_insecure(tmp_path, fake.host)
        open_at(f"{fake.host}/team/app:1.0", settings).resolve()


def test_https_is_never_left_for_http(
    tls: FakeRegistry, plain: FakeRegistry, certificate: Pair, tmp_path: Path
) -> None:
    settings = settings_in(str(tmp_path), environ={"SSL_CERT_FILE": certificate[0]})
    repository = open_at(f"{tls.host}/team/app:1.0", settings, push=True)
    tls.misbehave("blobs", replies.redirected(f"{plain.url}/v2/team/app/blobs/{digests.of(LAYER)}"))
    with pytest.raises(RegistryError, match="from https to http"):
        repository.blob(blob_of(LAYER))
    tls.misbehave("blobs/uploads", replies.answer(202, {"Location": f"{plain.url}/v2/x/blobs/uploads/0"}))
    with pytest.raises(RegistryError, match="from https to http"):
        repository.put_blob(blob_of(LAYER), open_at(f"{tls.host}/team/app:1.0", settings).blob(blob_of(LAYER)))
    assert plain.seen == []


def test_an_http_token_server_of_an_https_registry(plain: FakeRegistry, certificate: Pair, tmp_path: Path) -> None:
    with FakeRegistry(certificate=certificate, auth="token", realm=f"{plain.url}/token") as fake:
        credentials = {fake.host: (fake.user, fake.password)}
        settings = settings_in(str(tmp_path), credentials=credentials, environ={"SSL_CERT_FILE": certificate[0]})
        with pytest.raises(RegistryError, match="does not ask"):
            open_at(f"{fake.host}/team/app:1.0", settings).resolve()
    assert plain.seen == []


class Proxy:
    """A proxy on loopback that leads every CONNECT, and every whole URL, to one place."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.heads: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        self.heads.append(head.decode())
        url = parse_url(f"http://{self.target}")
        server = socket.create_connection((url.host, url.port))
        if head.startswith(b"CONNECT"):
            client.sendall(b"HTTP/1.1 200 go\r\n\r\n")
        else:
            server.sendall(head)
        threading.Thread(target=self._pipe, args=(server, client), daemon=True).start()
        self._pipe(client, server)

    def _pipe(self, source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)


def test_a_proxy_is_led_through_with_connect(tls: FakeRegistry, tmp_path: Path) -> None:
    proxy = Proxy(tls.host)
    tls.auth = "basic"
    environ = {"HTTPS_PROXY": f"http://pat:pw-of-pat@127.0.0.1:{proxy.port}"}
    _mark_insecure(tmp_path, "reg.invalid")
    settings = settings_in(str(tmp_path), credentials={"reg.invalid": (tls.user, tls.password)}, environ=environ)
    repository = open_at("reg.invalid/team/app:1.0", settings)
    repository.resolve()
    assert drain(repository.blob(blob_of(LAYER))) == LAYER
    proxy.close()
    pat = base64.b64encode(b"pat:pw-of-pat").decode()
    assert proxy.heads[0].startswith("CONNECT reg.invalid:443 ")
    assert f"Proxy-Authorization: Basic {pat}" in proxy.heads[0]
    assert base64.b64encode(tls.password.encode()).decode() not in proxy.heads[0]
    assert all("Proxy-Authorization" not in seen.headers for seen in tls.seen)


def test_an_ipv6_address_has_brackets_for_a_proxy(tls: FakeRegistry, tmp_path: Path) -> None:
    proxy = Proxy(tls.host)
    environ = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}
    _mark_insecure(tmp_path, "[2001:db8::1]:5000")
    open_at("[2001:db8::1]:5000/team/app:1.0", settings_in(str(tmp_path), environ=environ)).resolve()
    proxy.close()
    assert proxy.heads[0].startswith("CONNECT [2001:db8::1]:5000 ")
    assert {seen.headers["Host"] for seen in tls.seen} == {"[2001:db8::1]:5000"}


@pytest.mark.parametrize(
    ("proxy", "shown", "said"),
    [
        ("http://pat:pw-of-pat@127.0.0.1:1", "http://127.0.0.1:1", "connection refused"),
        ("nowhere.invalid", "http://nowhere.invalid:3128", "no such host"),
        ("[::1]:1", "http://[::1]:1", "connection refused"),
    ],
)
def test_a_fault_of_the_proxy_is_not_blamed_on_the_registry(proxy: str, shown: str, said: str, tmp_path: Path) -> None:
    settings = settings_in(str(tmp_path), environ={"HTTPS_PROXY": proxy})
    with pytest.raises(RegistryError) as caught:
        open_at("reg.invalid/team/app:1.0", settings).resolve()
    assert f"(through the proxy {shown}): {said}" in caught.value.message
    assert "HTTPS_PROXY" in caught.value.remedy and "NO_PROXY" in caught.value.remedy
    assert "pw-of-pat" not in str(caught.value) + caught.value.remedy


def test_what_a_registry_does_wrong_behind_a_proxy_is_its_own(tls: FakeRegistry, tmp_path: Path) -> None:
    proxy = Proxy(tls.host)
    environ = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}
    with pytest.raises(RegistryError, match=r"through the proxy .*certificate is not trusted") as caught:
        open_at("reg.invalid/team/app:1.0", settings_in(str(tmp_path), environ=environ)).resolve()
    proxy.close()
    assert "certs.d/reg.invalid/ca.crt" in caught.value.remedy


def test_a_proxy_for_plain_http_is_told_the_whole_url(plain: FakeRegistry, tmp_path: Path) -> None:
    proxy = Proxy(plain.host)
    environ = {"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}", "HTTPS_PROXY": ""}
    # Port 443 of this name answers nobody: http is what is left for an insecure registry.
    _mark_insecure(tmp_path, "reg.invalid")
    settings = settings_in(str(tmp_path), environ=environ)
    with pytest.raises(RegistryError, match="no such host"):
        open_at("reg.invalid/team/app:1.0", settings).resolve()
    environ["HTTPS_PROXY"] = f"http://127.0.0.1:{proxy.port}"
    repository = open_at("reg.invalid/team/app:1.0", settings_in(str(tmp_path), environ=environ))
    repository.resolve()
    proxy.close()
    assert "HEAD http://reg.invalid/v2/team/app/manifests/1.0 " in "".join(proxy.heads)


def test_a_proxy_that_refuses(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            client, _ = server.accept()
            client.recv(4096)
            client.sendall(b"HTTP/1.1 407 who are you\r\nContent-Length: 0\r\n\r\n")
            client.close()

        threading.Thread(target=refuse, daemon=True).start()
        environ = {"HTTPS_PROXY": f"http://127.0.0.1:{server.getsockname()[1]}"}
        with pytest.raises(RegistryError, match="the proxy refuses"):
            open_at("reg.invalid/a:1", settings_in(str(tmp_path), environ=environ)).resolve()


def test_a_proxy_that_goes_on_with_its_answer_is_given_up(tmp_path: Path) -> None:
    limits = msgspec.structs.replace(LIMITS, connect_seconds=0.2, retries=0)
    with _dripping(b"HTTP/1.0 200 OK\r\n", b"X: y\r\n") as proxy:
        settings = settings_in(str(tmp_path), environ={"HTTPS_PROXY": f"http://{proxy}"}, limits=limits)
        with pytest.raises(RegistryError, match="in time"):
            open_at("reg.invalid/a:1", settings).resolve()


def test_a_proxy_whose_first_address_is_dead_has_its_time_to_answer(
    tls: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, clock, dial = [0.0], time.monotonic, socket.create_connection

    proxy = Proxy(tls.host)

    def second_address(address: tuple[str, int], *args: Any, **named: Any) -> socket.socket:
        if address[1] == proxy.port:  # the proxy has its own way to the registry
            late[0] += LIMITS.connect_seconds + 1  # so long the first one was tried
        return dial(address, *args, **named)

    monkeypatch.setattr(time, "monotonic", lambda: clock() + late[0])
    monkeypatch.setattr(socket, "create_connection", second_address)
    environ = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}
    _mark_insecure(tmp_path, "reg.invalid")
    settings = settings_in(str(tmp_path), environ=environ)
    open_at("reg.invalid/team/app:1.0", settings).resolve()
    proxy.close()
    assert proxy.heads[0].startswith("CONNECT reg.invalid:443 ")


@contextlib.contextmanager
def _dripping(head: bytes, drop: bytes = b"x") -> Iterator[str]:
    """A server that sends `head` and then a byte at a time, slowly, for longer than anybody should wait."""
    stop = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def drip(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if client.recv(1, socket.MSG_PEEK) == b"\x16":
                client.close()
                return
            client.recv(65536)
            client.sendall(head)
            for _ in range(500):
                if stop.wait(0.02):
                    break
                client.sendall(drop)
            client.close()

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                threading.Thread(target=drip, args=(client,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}"
    finally:
        stop.set()
        server.close()


@pytest.mark.parametrize(
    "head",
    [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"],
    ids=["status", "header", "body"],
)
def test_a_server_that_drips_is_given_up(tmp_path: Path, head: bytes) -> None:
    limits = msgspec.structs.replace(LIMITS, idle_seconds=0.2, retries=1)
    with _dripping(head) as host, pytest.raises(RegistryError, match="in time"):
        open_at(f"{host}/a@{digests.of(b'x')}", settings_in(str(tmp_path), limits=limits)).resolve()


def test_a_blob_that_drips_is_given_up(tmp_path: Path) -> None:
    limits = msgspec.structs.replace(LIMITS, idle_seconds=0.2, retries=1)
    data = b"x" * 5000
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
    with _dripping(head) as host, pytest.raises(RegistryError, match="in time"):
        drain(open_at(f"{host}/a:1", settings_in(str(tmp_path), limits=limits)).blob(blob_of(data)))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200,
        b"HTTP/1.1 200 OK\r\n" + b"A" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        bytes(range(256)),
    ],
    ids=["nothing", "ssh", "status", "many headers", "long header", "negative length", "noise"],
)
def test_what_is_no_http_is_an_error(tmp_path: Path, answer: bytes) -> None:
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                if client.recv(65536)[:1] != b"\x16":
                    client.sendall(answer)
                client.close()

    threading.Thread(target=serve, daemon=True).start()
    with contextlib.closing(server), pytest.raises((RegistryError, InputError)) as caught:
        open_at(f"127.0.0.1:{server.getsockname()[1]}/a:1", settings_in(str(tmp_path))).resolve()
    assert str(caught.value).isprintable()


def test_importing_the_client_loads_no_tls() -> None:
    show = "import sys, ashore.mechanisms.registry; print(sorted({'ssl', 'http.client', 'email'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
