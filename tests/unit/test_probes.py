# SPDX-License-Identifier: Apache-2.0
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ashore.mechanisms.pid1 import probes
from ashore.nouns.bundle import Health


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.mark.parametrize("status", [200, 204, 302, 399])
def test_http_from_200_to_399_is_well(port: int, status: int) -> None:
    assert probes.probe(Health(http=f"http://127.0.0.1:{port}/{status}"), 5) == ""


@pytest.mark.parametrize(("status", "said"), [(404, "404 Not Found"), (503, "503 Service Unavailable")])
def test_http_beyond_is_not(port: int, status: int, said: str) -> None:
    url = f"http://127.0.0.1:{port}/{status}"
    assert probes.probe(Health(http=url), 5) == f"{url}: {said}"


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["of the head", "of the body"])
def test_a_server_that_sends_byte_after_byte_does_not_hold_it_up(head: bytes) -> None:
    """Were it waited for, this would take as long as the server likes: here, until the probe has ended."""
    done = threading.Event()

    def drip(server: socket.socket) -> None:
        client, _ = server.accept()
        with client:
            client.sendall(head)
            while not done.wait(0.02):
                client.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,), daemon=True)
        thread.start()
        said = probes.http(f"http://127.0.0.1:{server.getsockname()[1]}/", 0.3)
        done.set()
    assert said == "" if head else said.endswith("no answer in time")


@pytest.mark.parametrize("head", ["Content-Length: 400000\r\n", ""], ids=["with its length", "until it is closed"])
def test_an_answer_is_read_to_its_end(head: str) -> None:
    """Else the service sees its connection reset, and logs that."""
    ended = list[str]()

    def serve(server: socket.socket) -> None:
        client, _ = server.accept()
        with client:
            client.recv(4096)
            client.sendall(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode())
            for _ in range(40):
                client.sendall(b"x" * 10_000)
            client.shutdown(socket.SHUT_WR)
            ended.append(repr(client.recv(1)))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        assert probes.http(f"http://127.0.0.1:{server.getsockname()[1]}/", 5) == ""
        thread.join()
    assert ended == ["b''"], "closed, and not reset"


def test_no_answer_is_a_reason_and_no_exception(silent: int, closed: int) -> None:
    assert probes.http(f"http://127.0.0.1:{silent}/", 0.05).endswith("no answer in time")
    assert probes.http(f"http://127.0.0.1:{closed}/", 5).endswith("Connection refused")
    assert probes.http(f"https://127.0.0.1:{silent}/", 0.05).endswith("no answer in time")
    assert probes.tcp(f"127.0.0.1:{closed}", 5).endswith("Connection refused")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://", "http://127.0.0.1:99999/", "nonsense"])
def test_a_url_that_is_none_is_a_reason_and_no_exception(url: str) -> None:
    assert probes.http(url, 1).startswith(url + ": ")


def test_an_accepted_connection_is_well(silent: int) -> None:
    assert probes.probe(Health(tcp=f"127.0.0.1:{silent}"), 5) == ""
    assert probes.tcp("127.0.0.1:http", 1) != ""


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("true",), ""),
        (("false",), "false ended with 1"),
        (("sh", "-c", "echo one >&2; echo two >&2; exit 3"), "sh ended with 3: two"),
        (("sh", "-c", "kill -9 $$"), "sh was killed by SIGKILL"),
        (("sh", "-c", "kill -40 $$"), "sh was killed by signal 40"),
        (("sleep", "10"), "sleep 10 did not end within 0.05 s"),
        (("/no/such",), "cannot run /no/such: No such file or directory"),
    ],
)
def test_a_command(argv: tuple[str, ...], said: str) -> None:
    assert probes.probe(Health(command=argv), 0.05 if argv[0] == "sleep" else 5) == said


def test_a_command_sees_the_same_whoever_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A change by hand has the caller's environment and folder, the watch after it PID 1's."""
    for name in ("PATH", "HOME", "TMPDIR", "TERM"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    looks = f'test "$PATH" = {path} && test "$HOME" = /root && test "$(pwd)" = / && test -z "$TMPDIR$TERM" && env true'
    assert probes.probe(Health(command=("sh", "-c", looks)), 5) == ""


def test_no_probe_is_well() -> None:
    assert probes.probe(Health(unit="x.service"), 1) == ""
