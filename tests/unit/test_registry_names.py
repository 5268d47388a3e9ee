# SPDX-License-Identifier: Apache-2.0
"""URLs, proxies, pauses: what the registry client decides without asking anybody."""

import pytest

from ashore.errors import RegistryError, UsageError
from ashore.mechanisms.registry import proxies, retry, urls
from ashore.mechanisms.registry.proxies import Proxy


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://Reg.Example", "https://reg.example/"),
        ("HTTPS://reg.example/v2", "https://reg.example/v2"),
        ("Http://reg.example/v2", "http://reg.example/v2"),
        ("https://reg.example:443/v2/?a=b", "https://reg.example/v2/?a=b"),
        ("http://reg.example:80?x", "http://reg.example/?x"),
        ("http://[::1]:5000/v2/", "http://[::1]:5000/v2/"),
        ("https://reg.example/a#fragment", "https://reg.example/a"),
    ],
)
def test_urls_are_read(text: str, shown: str) -> None:
    assert str(urls.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    ["", "/v2/", "ftp://reg", "https://", "https://user:pw@reg/", "https://reg:0/", "https://reg:99999/",
     "https://reg/a b", "https://reg/\r\nX: y", "https://reg/\x00", "https://rég/", "file:///etc/passwd",
     "https://" + "a" * 20000],
)  # fmt: skip
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        urls.parse(text)


@pytest.mark.parametrize(
    ("location", "to"),
    [
        ("/v2/x", "https://reg.example:5000/v2/x"),
        ("?page=2", "https://reg.example:5000/v2/a?page=2"),
        ("//evil.example/x", "https://evil.example/x"),
        ("https://cdn.example/x?sig=1", "https://cdn.example/x?sig=1"),
        ("HTTPS://cdn.example/x", "https://cdn.example/x"),
    ],
)
def test_locations_are_joined(location: str, to: str) -> None:
    assert str(urls.join(urls.parse("https://reg.example:5000/v2/a"), location)) == to


@pytest.mark.parametrize("location", ["javascript:alert(1)", "file:///etc/shadow", "HTTP:/x", "gopher://x/"])
def test_locations_that_lead_nowhere(location: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        urls.join(urls.parse("https://reg.example/v2/a"), location)


@pytest.mark.parametrize(
    ("host", "loopback", "inward"),
    [
        ("localhost", True, True),
        ("127.8.9.10", True, True),
        ("::1", True, True),
        ("::ffff:127.0.0.1", True, True),
        ("169.254.169.254", False, True),
        ("fe80::1", False, True),
        ("0.0.0.0", False, True),
        ("127.1", True, True),
        ("2130706433", True, True),
        ("0x7f000001", True, True),
        ("0x7F.1", True, True),
        ("0177.0.0.01", True, True),
        ("2852039166", False, True),
        ("0xa9fea9fe", False, True),
        ("169.254.43518", False, True),
        ("0", False, True),
        ("localhost.", False, True),
        ("reg.localhost", False, True),
        ("127.0.0.1.", False, True),
        ("10.0.0.1", False, False),
        ("10.1", False, False),
        ("167772161", False, False),
        ("127.0.0.0.1", False, False),
        ("beef.cafe", False, False),
        ("127.1.example", False, False),
        ("localhost.example", False, False),
        ("reg.example", False, False),
    ],
)
def test_loopback_and_link_local(host: str, loopback: bool, inward: bool) -> None:
    assert (urls.is_loopback(host), urls.is_inward(host)) == (loopback, inward)


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://reg.example/", {}, None),
        ("https://reg.example/", {"HTTPS_PROXY": "http://p.example:8080"}, Proxy("p.example", 8080)),
        ("https://reg.example/", {"https_proxy": "p.example:8080"}, Proxy("p.example", 8080)),
        ("https://reg.example/", {"https_proxy": "http://p.example"}, Proxy("p.example", 3128)),
        ("https://reg.example/", {"HTTP_PROXY": "http://p.example:8080"}, None),
        ("http://reg.example/", {"HTTP_PROXY": "http://p.example:8080"}, Proxy("p.example", 8080)),
        (
            "https://reg.example/",
            {"HTTPS_PROXY": "http://u%40x:p@p.example:1"},
            Proxy("p.example", 1, "Basic dUB4OnA="),
        ),
        ("https://reg.example/", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other, .example"}, None),
        ("https://reg.example/", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "reg.example:5000"}, Proxy("p", 1)),
        ("https://reg.example:5000/", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "reg.example:5000"}, None),
        ("https://badreg.example/", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "reg.example"}, Proxy("p", 1)),
        ("https://10.1.2.3/", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, None),
        ("https://11.1.2.3/", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, Proxy("p", 1)),
        ("https://reg.example/", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ("http://127.0.0.1:5000/", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://localhost:5000/", {"HTTP_PROXY": "http://p:1"}, None),
    ],
)
def test_proxies(url: str, environ: dict[str, str], proxy: Proxy | None) -> None:
    assert proxies.for_url(urls.parse(url), environ) == proxy


@pytest.mark.parametrize("value", ["https://p:1", "socks5://p:1", "http://", "http://p:port"])
def test_a_proxy_that_cannot_be_used_is_said_without_its_password(value: str) -> None:
    value = value.replace("://", "://user:hunter2@")
    with pytest.raises(UsageError) as caught:
        proxies.for_url(urls.parse("https://reg.example/"), {"HTTPS_PROXY": value})
    assert "hunter2" not in f"{caught.value} {caught.value.remedy}"


def _retry(attempts: int, waits: list[float], jitter: float = 0.0) -> retry.Retry:
    return retry.Retry(attempts=attempts, sleep=waits.append, jitter=lambda: jitter, say=lambda line: None)


def test_attempts_are_bounded_and_pauses_grow() -> None:
    waits: list[float] = []
    tries: list[int] = []

    def fail() -> None:
        tries.append(1)
        raise retry.Again(RegistryError("no"))

    with pytest.raises(RegistryError, match="no"):
        _retry(7, waits).run(fail)
    assert (len(tries), waits) == (8, [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0])


def test_jitter_takes_at_most_half() -> None:
    assert _retry(1, [], 0.999).seconds(3, None) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), ("0", 0.0), ("999999999", 30.0), ("Thu, 01 Jan 1970 00:01:50 GMT", 10.0),
     ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0), ("soon", 0.25), ("", 0.25), ("-5", 0.25), ("1e9", 0.25)],
)  # fmt: skip
def test_retry_after_is_heeded_within_reason(header: str, seconds: float) -> None:
    assert _retry(1, []).seconds(1, retry.retry_after(header, 100.0)) == seconds


def test_other_errors_are_not_repeated() -> None:
    waits: list[float] = []

    def fail() -> None:
        raise RegistryError("final")

    with pytest.raises(RegistryError, match="final"):
        _retry(5, waits).run(fail)
    assert waits == []
