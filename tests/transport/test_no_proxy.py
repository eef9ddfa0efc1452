"""The forms of `no_proxy`."""

from __future__ import annotations

import pytest

from asyncinfer.transport.no_proxy import is_bypassed


@pytest.mark.parametrize(
    ("no_proxy", "host"),
    [
        ("*", "api.example.com"),
        ("localhost,*", "api.example.com"),
        ("example.com", "example.com"),
        ("example.com", "api.example.com"),
        (".example.com", "example.com"),
        (".example.com", "api.example.com"),
        ("*.example.com", "api.example.com"),
        ("example.com.", "api.example.com"),
        ("example.com", "api.example.com."),
        ("EXAMPLE.com", "api.Example.COM"),
        ("a.org, example.com", "example.com"),
        ("a.org example.com", "example.com"),
        (" a.org ,, example.com ,", "example.com"),
        ("http://example.com/", "example.com"),
        ("example.com:443", "example.com"),
        ("*:443", "example.com"),
        ("10.0.0.7", "10.0.0.7"),
        ("10.0.0.7:443", "10.0.0.7"),
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.9.9.9/8", "10.1.2.3"),
        ("10.0.0.0/255.0.0.0", "10.1.2.3"),
        ("10.0.0.0/8:443", "10.1.2.3"),
        ("10.0.0.0/8", "::ffff:10.1.2.3"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[::1]:443", "::1"),
        ("0:0:0:0:0:0:0:1", "[::1]"),
        ("fd00::/8", "fd12::1"),
        ("[fd00::]/8", "fd12::1"),
        ("fe80::/10", "fe80::1%eth0"),
        ("bücher.example", "bücher.example"),
    ],
)
def test_host_is_reached_directly(no_proxy: str, host: str) -> None:
    assert is_bypassed(no_proxy, host, 443)


@pytest.mark.parametrize(
    ("no_proxy", "host"),
    [
        ("", "example.com"),
        (" , ", "example.com"),
        (".", "example.com"),
        ("example.com", "notexample.com"),
        ("example.com", "example.com.evil.org"),
        ("api.example.com", "example.com"),
        ("example.com:8443", "example.com"),
        ("*:8443", "example.com"),
        ("10.0.0.0/8", "11.0.0.1"),
        ("10.0.0.0/8", "10.example.com"),
        ("10.0.0.0/99", "10.0.0.1"),
        ("0.0.7", "10.0.0.7"),
        ("10.0.0.7:8443", "10.0.0.7"),
        ("::1", "::2"),
        ("[::1]:8443", "::1"),
        ("fd00::/8", "10.0.0.1"),
        ("fd00::/8", "fc00::1"),
    ],
)
def test_host_is_reached_through_the_proxy(no_proxy: str, host: str) -> None:
    assert not is_bypassed(no_proxy, host, 443)
