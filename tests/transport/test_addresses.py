"""Which addresses belong to the public internet."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.transport.addresses import has_only_public_addresses, is_public


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_address_on_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.1",
        "192.0.0.9",
        "192.0.0.192",
        "192.88.99.1",
        "192.0.2.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::808:808",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2001:1ff::1",
        "3fff::1",
        "2002:7f00:1::",
        "2002:c0a8:1::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "4000::1",
        "localhost",
        "2130706433",
        "127.1",
        "",
    ],
)
def test_private_or_reserved_address_is_not_public(address: str) -> None:
    assert not is_public(address)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_address_that_is_public_is_global_in_the_standard_library(address: IPv4Address | IPv6Address) -> None:
    if is_public(str(address)):
        assert ip_address(str(address)) == address
        assert not any((address.is_loopback, address.is_link_local, address.is_multicast, address.is_unspecified))
        embedded = address.ipv4_mapped or address.sixtofour if isinstance(address, IPv6Address) else None
        assert not address.is_private or embedded is not None


@given(st.ip_addresses(v=4))
def test_ipv6_address_that_embeds_an_ipv4_address_is_public_if_the_ipv4_address_is_public(address: IPv4Address) -> None:
    number = int(address)
    forms = [IPv6Address((0xFFFF << 32) | number), IPv6Address((0x64FF9B << 96) | number)]
    forms.append(IPv6Address((0x2002 << 112) | (number << 80)))
    assert {is_public(str(form)) for form in forms} == {is_public(str(address))}


@pytest.mark.parametrize(
    ("addresses", "expected"), [(["1.1.1.1", "2606:4700::1"], True), (["1.1.1.1", "10.0.0.1"], False)]
)
async def test_host_is_public_if_all_its_addresses_are(
    addresses: list[str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_UNSPEC, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert await has_only_public_addresses("example.com") is expected
