"""Where a provider may be: a base URL taken apart, and the addresses that nobody may have, in every spelling."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from freehold.kernel.problems import Wrong

_FORBIDDEN_NETWORKS = tuple(
    ipaddress.ip_network(n)
    for n in (
        "169.254.0.0/16",
        "fe80::/10",
        "0.0.0.0/32",
        "255.255.255.255/32",
        "::/128",
        "100.100.100.200/32",
        "192.0.0.192/32",
        "fd00:ec2::254/128",
        "fd20:ce::254/128",
        "64:ff9b:1::/48",  # NAT64 of somebody's own (RFC 8215): what it stands for cannot be told
        "2001::/32",  # Teredo: the same, and given up
    )
)


def endpoint(
    path: tuple[str, ...], base_url: str
) -> tuple[str, bool, ipaddress.IPv4Address | ipaddress.IPv6Address | None]:
    """Take a base_url apart: host, TLS or not, and the literal address if the host is one."""
    where = (*path, "base_url")
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise Wrong(where, f"{base_url!r} is not an address", "write https://host[:port]/path") from None
    if parts.scheme not in ("http", "https") or not host or parts.username is not None or parts.query or parts.fragment:
        raise Wrong(
            where,
            "base_url must be http(s)://host[:port]/path, without user, query or fragment",
            "write https://host[:port]/v1",
        )
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # Anything that is only digits, dots, x and hex is some C library's idea of an address: refuse every odd spelling.
        if re.fullmatch(r"[0-9.]+|0x[0-9a-f.x]+", host):
            raise Wrong(
                where, f"{host!r} is an unusual spelling of an address", "write it as four plain numbers"
            ) from None
        if host == "localhost":
            return host, parts.scheme == "https", ipaddress.ip_address("127.0.0.1")
        return host, parts.scheme == "https", None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if is_forbidden(address):
        raise Wrong(
            where,
            f"{host} is a link-local, metadata or unspecified address",
            "no provider lives there; use the server's own address",
        )
    return host, parts.scheme == "https", address


def is_forbidden(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """True for addresses that no provider may have: link-local, cloud metadata, unspecified, multicast; also inside an IPv6 spelling of them."""
    inner = embedded(address)
    if inner is not None and is_forbidden(inner):
        return True
    return address.is_multicast or any(
        address in network for network in _FORBIDDEN_NETWORKS if network.version == address.version
    )


def embedded(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for: mapped, compatible, 6to4, translated, or behind NAT64 (RFC 4291, 3056, 2765, 6052)."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None or address.sixtofour is not None:
        return address.ipv4_mapped or address.sixtofour
    value = int(address)
    if value >> 32 in (0x0064_FF9B << 64, 0xFFFF_0000) or (value >> 32 == 0 and value > 1):
        return ipaddress.IPv4Address(value & 0xFFFF_FFFF)
    return None
