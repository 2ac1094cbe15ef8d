"""Combinations of TLS files, and errors about missing ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wgmesh_agent.settings import bootstrap_table, table
from wgmesh_agent.settings.errors import SettingsError
from wgmesh_agent.settings.model import ClientTLS, ServerTLS
from wgmesh_agent.settings.resolve import Resolved
from wgmesh_agent.settings.setting import Setting

_SERVER = (
    bootstrap_table.SERVER_KEY,
    bootstrap_table.SERVER_CERT,
    bootstrap_table.SERVER_CA_CERT,
    bootstrap_table.SERVER_CA_PATH,
)
_JOIN = (table.CLIENT_KEY, table.CLIENT_CERT, table.CLIENT_CA_CERT)
_CERTIFICATES_HINT = (
    "`wgmesh ca init` and `wgmesh ca issue` create certificates; "
    "for testing, -dev runs without certificates and admits anyone"
)


def server_tls(resolved: Resolved) -> ServerTLS | None:
    """Returns the join service's files; None in development mode. Raises SettingsError."""
    if _is_dev(resolved, _SERVER):
        return None
    ca_cert, ca_path = (
        resolved.value(bootstrap_table.SERVER_CA_CERT),
        resolved.value(bootstrap_table.SERVER_CA_PATH),
    )
    if ca_cert is not None and ca_path is not None:
        one, other = (
            resolved.origin(bootstrap_table.SERVER_CA_CERT),
            resolved.origin(bootstrap_table.SERVER_CA_PATH),
        )
        raise SettingsError(f"{one.label} and {other.label} exclude each other: give one of them")
    missing = _missing(resolved, (bootstrap_table.SERVER_KEY, bootstrap_table.SERVER_CERT))
    if ca_cert is None and ca_path is None:
        missing.append("-grpc-ca-cert or -grpc-ca-path")
    if missing:
        raise SettingsError(f"bootstrap needs {_and(missing)}; {_CERTIFICATES_HINT}")
    return ServerTLS(
        key=_file(resolved, bootstrap_table.SERVER_KEY),
        cert=_file(resolved, bootstrap_table.SERVER_CERT),
        ca_cert=_file(resolved, bootstrap_table.SERVER_CA_CERT) if ca_cert is not None else None,
        ca_path=_folder(resolved, bootstrap_table.SERVER_CA_PATH) if ca_path is not None else None,
    )


def join_tls(resolved: Resolved) -> ClientTLS | None:
    """Returns a joiner's files; None in development mode. Raises SettingsError."""
    if _is_dev(resolved, _JOIN):
        return None
    missing = _missing(resolved, _JOIN)
    if missing:
        raise SettingsError(f"join needs {_and(missing)}, or a -bundle; {_CERTIFICATES_HINT}")
    return ClientTLS(
        key=_file(resolved, table.CLIENT_KEY),
        cert=_file(resolved, table.CLIENT_CERT),
        ca_cert=_file(resolved, table.CLIENT_CA_CERT),
        ca_path=None,
    )


def bootstrap_client_tls(resolved: Resolved, server: ServerTLS | None) -> ClientTLS | None:
    """Returns the client files that a bootstrap node presents, by default its server files. Raises SettingsError."""
    if server is None or not resolved.value(bootstrap_table.BOOTSTRAP_PEERS):
        return None
    key, cert = resolved.value(table.CLIENT_KEY), resolved.value(table.CLIENT_CERT)
    if (key is None) != (cert is None):
        raise SettingsError("-client-key and -client-cert go together: give both or neither")
    return ClientTLS(
        key=server.key if key is None else _file(resolved, table.CLIENT_KEY),
        cert=server.cert if cert is None else _file(resolved, table.CLIENT_CERT),
        ca_cert=server.ca_cert,
        ca_path=server.ca_path,
    )


def _is_dev(resolved: Resolved, files: Sequence[Setting[Path | None]]) -> bool:
    if not resolved.value(table.DEV):
        return False
    for setting in files:
        if resolved.is_given(setting):
            raise SettingsError(f"{resolved.origin(setting).label} cannot be combined with -dev")
    return True


def _missing(resolved: Resolved, files: Sequence[Setting[Path | None]]) -> list[str]:
    return [setting.flag for setting in files if resolved.value(setting) is None]


def _file(resolved: Resolved, setting: Setting[Path | None]) -> Path:
    path = _given(resolved, setting)
    if not path.is_file():
        raise SettingsError(f"{resolved.origin(setting).label}: there is no file {path}")
    return path


def _folder(resolved: Resolved, setting: Setting[Path | None]) -> Path:
    path = _given(resolved, setting)
    if not path.is_dir():
        raise SettingsError(f"{resolved.origin(setting).label}: there is no folder {path}")
    return path


def _given(resolved: Resolved, setting: Setting[Path | None]) -> Path:
    path = resolved.value(setting)
    if path is None:
        raise SettingsError(f"{setting.flag} must be given")
    return path.absolute()


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
