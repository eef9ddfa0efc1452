"""HTTP: sends requests and reads responses, within limits.

An engine reads the proxies of a host from the environment once. An engine that is made after a change of the
environment uses the new values. Changed settings of macOS or Windows need `asyncinfer.transport._proxy.cache_clear()`.
"""

from asyncinfer.transport.proxies import proxy_for as _proxy

__all__ = ["_proxy"]
