"""HTTP: sends requests and reads responses, within limits.

Proxies are read from the environment once for each host. If a program changes its environment after that,
`asyncinfer.transport._proxy.cache_clear()` makes engines that are made later read it again.
"""

from asyncinfer.transport.proxies import proxy_for as _proxy

__all__ = ["_proxy"]
