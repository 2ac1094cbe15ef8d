"""`wgmesh ca`: the flags; the implementation is in certificate_files.py, which imports cryptography."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import click

from wgmesh_agent.cli.commands import GoCommand, Late, LateGroup
from wgmesh_agent.settings.errors import SettingsError
from wgmesh_api.names import is_mesh_name, is_node_name

CA_DAYS = 3650
NODE_DAYS = 365

_DAYS = click.IntRange(1, 36500)
_FORCE = click.Option(["--force"], is_flag=True, help="overwrite files that exist")


def _init(mesh: str | None, dir_: Path, days: int, force: bool) -> int:
    if mesh is None or not is_mesh_name(mesh):
        raise SettingsError("ca init needs --mesh NAME, 1 to 10 letters and digits")
    from wgmesh_agent.cli.certificate_files import make_authority

    made = make_authority(mesh, dir_, days=days, force=force)
    click.echo(f"A CA for the mesh {mesh}: {made.cert}, valid until {made.not_after:%Y-%m-%d}.")
    click.echo(f"Its key, which signs certificates of members: {made.key}. Keep it off the nodes.")
    return 0


def _issue(
    name: str,
    dir_: Path,
    mesh: str | None,
    bootstrap: bool,
    ip: tuple[str, ...],
    dns: tuple[str, ...],
    days: int,
    out: Path | None,
    force: bool,
) -> int:
    if not is_node_name(name):
        raise SettingsError(
            f'"{name}" is not a node name (1 to 64 letters, digits, dots, underscores and dashes)'
        )
    if mesh is not None and not is_mesh_name(mesh):
        raise SettingsError(f'--mesh: "{mesh}" is not a mesh name (1 to 10 letters and digits)')
    if bootstrap and not ip and not dns:
        raise SettingsError(
            "a bootstrap certificate needs what joining nodes dial: give --ip ADDRESS or --dns NAME, or both"
        )
    addresses = [_address(text) for text in _items(ip)]
    from wgmesh_agent.cli.certificate_files import Wanted, issue_certificate

    wanted = Wanted(name, mesh, bootstrap, tuple(addresses), tuple(_items(dns)))
    made = issue_certificate(wanted, dir_, out or dir_, days=days, force=force)
    click.echo(f"{made.cert} and {made.key}, valid until {made.not_after:%Y-%m-%d}.")
    if made.shortened:
        click.echo("That is the expiry of the CA, earlier than requested.")
    return 0


def _show(file: Path | None, dir_: Path | None) -> int:
    if file is not None and dir_ is not None:
        raise SettingsError("ca show takes a FILE or --dir, not both")
    from wgmesh_agent.cli.certificate_files import describe

    for line in describe(file or dir_ or Path()):
        click.echo(line)
    return 0


def _items(texts: Sequence[str]) -> list[str]:
    return [item.strip() for text in texts for item in text.split(",") if item.strip()]


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise SettingsError(f'--ip: "{text}" is not an IP address') from None


def _dir_option(help_text: str, *, default: Path | None) -> click.Option:
    return click.Option(
        ["dir_", "--dir"], type=click.Path(path_type=Path), default=default, metavar="FOLDER", help=help_text
    )


def _days_option(default: int) -> click.Option:
    return click.Option(
        ["--days"], type=_DAYS, default=default, metavar="N", help="validity period", show_default=True
    )


def _command(
    name: str, callback: Callable[..., int], params: Sequence[click.Parameter], help_text: str
) -> GoCommand:
    return GoCommand(name, callback, params=params, help=help_text)


init = _command(
    "init",
    _init,
    [
        click.Option(["--mesh"], metavar="NAME", help="the mesh the CA is for"),
        _dir_option("folder for ca.pem and ca-key.pem [default: here]", default=Path()),
        _days_option(CA_DAYS),
        _FORCE,
    ],
    "Create a certificate authority for a mesh.",
)
issue = _command(
    "issue",
    _issue,
    [
        click.Argument(["name"]),
        _dir_option("folder of ca.pem and ca-key.pem [default: here]", default=Path()),
        click.Option(["--mesh"], metavar="NAME", help="mesh name, for a CA created by another program"),
        click.Option(["--bootstrap"], is_flag=True, help="for a bootstrap node: permits it to admit members"),
        click.Option(
            ["--ip"], multiple=True, metavar="IP", help="IP address for joining nodes; may be repeated"
        ),
        click.Option(
            ["--dns"], multiple=True, metavar="NAME", help="DNS name for joining nodes; may be repeated"
        ),
        _days_option(NODE_DAYS),
        click.Option(
            ["--out"],
            type=click.Path(path_type=Path),
            metavar="FOLDER",
            help="folder for NAME.pem and NAME-key.pem [default: as --dir]",
        ),
        _FORCE,
    ],
    "Create a key and a certificate for the node NAME.",
)
show = _command(
    "show",
    _show,
    [
        click.Argument(["file"], required=False, type=click.Path(path_type=Path)),
        _dir_option("show all certificates in this folder [default: here]", default=None),
    ],
    "Show certificates: identity, validity, fingerprint.",
)

ca = LateGroup(
    "ca",
    {
        "init": Late(__name__, "init", "create a certificate authority for a mesh"),
        "issue": Late(__name__, "issue", "create a key and a certificate for a node"),
        "show": Late(__name__, "show", "show certificates"),
    },
    help="Create certificates for a mesh, if you have no CA of your own.",
)
