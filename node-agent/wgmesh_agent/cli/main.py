"""Entry points of `wgmesh` and `wgmesh-agent`. Exit codes: 0 success, 1 failure, 2 usage error."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

import click

from wgmesh_agent.cli.commands import Late, LateGroup
from wgmesh_agent.cli.failure import CommandFailed
from wgmesh_agent.cli.units import printable
from wgmesh_agent.settings.errors import SettingsError

_INTERRUPTED = 130

_RUNNING: Mapping[str, Late] = {
    "bootstrap": Late("wgmesh_agent.cli.node", "bootstrap", "create a mesh and admit members"),
    "join": Late("wgmesh_agent.cli.node", "join", "join a mesh and keep running as a member"),
}
_IN_KUBERNETES: Mapping[str, Late] = {
    "kube": Late("wgmesh_agent.cli.kube", "kube", "run the agent of this Kubernetes node"),
    "tunnel": Late("wgmesh_agent.cli.kube", "tunnel", "run wireguard-go for this Kubernetes node"),
}
_ASKING: Mapping[str, Late] = {
    "info": Late("wgmesh_agent.cli.info", "info", "show the mesh and its members"),
    "tags": Late("wgmesh_agent.cli.tags", "tags", "show, set or delete this node's tags"),
    "rtt": Late("wgmesh_agent.cli.rtt", "rtt", "show round-trip times between all members"),
    "doctor": Late(
        "wgmesh_agent.cli.doctor", "doctor", "diagnose this node's links: findings with evidence and fix"
    ),
    "leave": Late("wgmesh_agent.cli.leave", "leave", "remove this node, or a failed member, permanently"),
}
_CHANGING: Mapping[str, Late] = {
    "keys": Late("wgmesh_agent.cli.keys", "keys", "rotate keys without interruption"),
}
_TOOLS: Mapping[str, Late] = {
    "ca": Late("wgmesh_agent.cli.ca", "ca", "create the certificates of a mesh"),
    "demo": Late("wgmesh_agent.cli.demo", "demo", "run a demo mesh on this machine"),
}
_VERSION: Mapping[str, Late] = {
    "version": Late("wgmesh_agent.cli.version", "version", "show the version"),
}
_EPILOG = (
    "Long flags may be written with one dash or two. Settings: flag, else WGMESH_* variable, else YAML file."
)


def wgmesh() -> LateGroup:
    """The whole command line."""
    return LateGroup(
        "wgmesh",
        {**_RUNNING, **_ASKING, **_CHANGING, **_TOOLS, **_VERSION},
        help="Private WireGuard full meshes.",
        epilog=_EPILOG,
    )


def wgmesh_agent() -> LateGroup:
    """The agent alone, as services and containers run it."""
    return LateGroup(
        "wgmesh-agent",
        {**_RUNNING, **_IN_KUBERNETES, **_VERSION},
        help="The node agent of wgmesh.",
        epilog=_EPILOG,
    )


def run(group: LateGroup, args: Sequence[str]) -> int:
    """Runs the command line `args` of `name`; returns the exit code. Errors are one sentence on standard error."""
    # gRPC's core prints each failed handshake, in addition to our own sentence about it.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        if not args:
            click.echo(group.get_help(click.Context(group, info_name=group.name)), err=True)
            return 2
        code = group.main(list(args), prog_name=group.name, standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.UsageError as error:
        hint = f" See `{error.ctx.command_path} --help`." if error.ctx is not None else ""
        return _complain(f"{error.format_message()}{hint}", 2)
    except SettingsError as error:
        return _complain(str(error), 2)
    except (CommandFailed, click.ClickException) as error:
        return _complain(str(error), 1)
    except (KeyboardInterrupt, click.Abort):
        return _INTERRUPTED
    except BrokenPipeError:
        # the reader of our output has terminated, and Python would report that once more when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _complain(sentence: str, code: int) -> int:
    click.echo(f"wgmesh: {printable(sentence)}", err=True)
    return code


def main() -> None:
    """The command `wgmesh`."""
    sys.exit(run(wgmesh(), sys.argv[1:]))


def agent_main() -> None:
    """The command `wgmesh-agent`."""
    sys.exit(run(wgmesh_agent(), sys.argv[1:]))


if __name__ == "__main__":
    main()
