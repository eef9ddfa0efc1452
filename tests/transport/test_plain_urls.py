"""Which URLs every client reads alike."""

from __future__ import annotations

import pytest
import yarl
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.transport.plain_urls import AmbiguousUrlError, plain_host


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://example.com", "example.com"),
        ("HTTPS://Example.com:8443/a.png?x=1#y", "Example.com"),
        ("https://example.com?http://other", "example.com"),
        ("https://example.com./a%20b", "example.com."),
        ("https://de.wikipedia.org/wiki/\u00d6l.png", "de.wikipedia.org"),
        ("http://1.1.1.1/a@b", "1.1.1.1"),
        ("http://[2606:4700::1111]:80/", "2606:4700::1111"),
        ("http://1.example.com", "1.example.com"),
        ("http://my_host-1", "my_host-1"),
    ],
)
def test_host_of_a_plain_url(url: str, host: str) -> None:
    assert plain_host(url) == host


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9777\\@1.1.1.1/x.png",
        "http://1.1.1.1\\@127.0.0.1/",
        "http://1.1.1.1/a\\b",
        "ht\ntp://1.1.1.1",
        "http://1.1.1.1\t/",
        "http://1.1.1.1/a b",
        "http://1.1.1.1/\x00",
        "http://1.1.1.1/\x85",
        "http://1.1.1.1/\u2028",
        "http://1.1.1.1/\ud800",
        " http://1.1.1.1",
        "http://1.1.1.1\n",
        "http://user@1.1.1.1/",
        "http://user:password@1.1.1.1/",
        "http://@1.1.1.1/",
        "http://a@b@1.1.1.1/",
        "http://1.1.1.1%2f@127.0.0.1/",
        "http://127.0.0.1%00.example.com/",
        "http://stra\u00dfe.de/",
        "http://\uff11.1.1.1/",
        "http://1.1.1.1\u3002example.com/",
        "http://010.8.8.8/",
        "http://0x8.8.8.8/",
        "http://134744072/",
        "http://8.8/",
        "http://1.2.3.4.5/",
        "http://8.8.8.8./",
        "http://[::1",
        "http://[v1.a]/",
        "http://[fe80::1%25eth0]/",
        "http://1.1.1.1:port/",
        "http://1.1.1.1:123456/",
        "http:///a",
        "http:/1.1.1.1/",
        "http:1.1.1.1",
        "//1.1.1.1/",
        "ftp://1.1.1.1/",
        "file:///etc/passwd",
        "",
    ],
)
def test_url_that_clients_may_read_differently_is_refused(url: str) -> None:
    with pytest.raises(AmbiguousUrlError):
        plain_host(url)


def test_user_name_may_be_allowed() -> None:
    assert plain_host("http://user:password@example.com/", allow_user=True) == "example.com"
    with pytest.raises(AmbiguousUrlError):
        plain_host("http://127.0.0.1\\@example.com/", allow_user=True)


@given(st.text(alphabet="htps:/\\@.1a[]%#?&; \t\r\n\u3002\uff0f", max_size=20), st.booleans())
def test_host_is_the_one_that_aiohttp_connects_to(rest: str, allow_user: bool) -> None:
    url = f"http://{rest}"
    try:
        host = plain_host(url, allow_user=allow_user)
    except AmbiguousUrlError:
        return
    assert yarl.URL(url).host == host.lower()
