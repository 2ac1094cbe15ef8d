"""Parts of libraries that an agent does not load: never called, but imported, at 24 MiB and a fifth of a second."""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType

_BARE = ("pyroute2", "kubernetes", "kubernetes.config")
"""Packages whose `__init__` does not run: each imports the whole of its library."""

_PLACEHOLDERS = {
    "unittest": (),
    "unittest.mock": ("Mock",),
    "jwt.jwks_client": ("PyJWKClient",),
    "pyroute2.netlink.rtnl.probe_msg": ("probe_msg", "proxy_newprobe"),
}
"""Modules that libraries import names from and that no agent calls: a name is there, and what uses it fails.

- pyroute2 makes a `unittest.mock.Mock` for a socket that has no event loop, for which unittest is imported whole.
- PyJWT's client of key servers brings urllib, http and email.
- pyroute2's probe for open ports brings ssl.
"""

_BUILTIN_HASHES = ("_md5", "_sha1", "_sha3", "_blake2")


class Unused:
    """In the place of a class or function that is never called."""

    def __init__(self, *arguments: object, **options: object) -> None:
        if arguments or options:
            raise RuntimeError("this part of a library is left out of the agent: see cli/library_parts.py")


def leave_out(*, tls: bool) -> None:
    """Call in an agent before the first import of asyncio, structlog, pyroute2, jwt and kubernetes.

    What is loaded already stays whole. structlog imports rich wherever it is installed, for tracebacks that our logs do
    not have.

    Args:
        tls: whether Python's `ssl` is needed, for the API server. gRPC and certificates have libraries of their own.
    """
    loaded = frozenset(sys.modules)
    for name in ("rich", *(() if tls else _openssl())):
        # None makes an import of it fail as if it were not installed.
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    for name in _BARE:
        if name not in sys.modules and (spec := find_spec(name)) is not None:
            sys.modules[name] = module_from_spec(spec)
    for name, attributes in _PLACEHOLDERS.items():
        if name.partition(".")[0] not in loaded:
            sys.modules[name] = _placeholder(name, attributes)


def _openssl() -> tuple[str, ...]:
    """Modules that load the system's OpenSSL; some builds of Python have no other hashes than its."""
    return ("ssl", "_hashlib") if all(find_spec(name) is not None for name in _BUILTIN_HASHES) else ("ssl",)


def _placeholder(name: str, attributes: tuple[str, ...]) -> ModuleType:
    module = ModuleType(name, "Left out: wgmesh_agent.cli.library_parts.")
    for attribute in attributes:
        setattr(module, attribute, Unused)
    return module
