"""`wgmesh tags`: this node's tags."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import click

from wgmesh_agent.cli.agent_client import CALL_TIMEOUT_SECONDS, agent_at
from wgmesh_agent.cli.commands import GoCommand, gather, setting_options
from wgmesh_agent.cli.failure import CommandFailed
from wgmesh_agent.cli.output import OUTPUT
from wgmesh_agent.cli.units import printable
from wgmesh_agent.settings.build import client_settings
from wgmesh_agent.settings.errors import SettingsError
from wgmesh_agent.settings.setting import Command

if TYPE_CHECKING:
    from wgmesh_api.agent_pb2_grpc import AgentStub

_SERVICE_PREFIX = "svc:"
_SERVICE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


@click.pass_context
def _tags(ctx: click.Context, set_: tuple[str, ...], delete: tuple[str, ...], output: str) -> int:
    changes = [parse_tag(text) for text in set_]
    settings = client_settings(gather(ctx, Command.CLIENT))
    with agent_at(settings.agent_socket) as agent:
        if not changes and not delete:
            _show(agent, output)
            return 0
        for key in delete:
            _change(agent, key, None)
        for key, value in changes:
            _change(agent, key, value)
    return 0


def parse_tag(text: str) -> tuple[str, str]:
    """`key=value`, split; a service's value must be valid. Raises SettingsError."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise SettingsError(f'-set: "{text}" is not of the form key=value')
    if key.startswith(_SERVICE_PREFIX):
        _check_service(key.removeprefix(_SERVICE_PREFIX), value)
    return key, value


def _check_service(name: str, value: str) -> None:
    if _SERVICE_NAME.fullmatch(name) is None:
        raise SettingsError(
            f'-set: "{name}" is not a service name (1 to 63 letters, digits, dots, underscores and dashes, '
            "with a letter or digit at both ends)"
        )
    items = dict(item.partition("=")[::2] for item in value.split(","))
    port = items.get("port", "")
    if "" in items:
        raise SettingsError(f'-set: "{value}" is not of the form port=80,key=value,…')
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise SettingsError(f"-set: the service {name} needs port=N with N from 1 to 65535, as in port=80")


def _show(agent: AgentStub, output: str) -> None:
    from wgmesh_api.agent_pb2 import AgentEmpty

    tags = {tag.key: tag.value for tag in agent.Tags(AgentEmpty(), timeout=CALL_TIMEOUT_SECONDS)}
    shown = {key: value for key, value in sorted(tags.items()) if not key.startswith("_")}
    if output == "json":
        click.echo(json.dumps(shown, indent=2))
    elif shown:
        for key, value in shown.items():
            click.echo(printable(f"{key}={value}"))
    else:
        click.echo("no tags")


def _change(agent: AgentStub, key: str, value: str | None) -> None:
    from wgmesh_api.agent_pb2 import NodeTag

    if value is None:
        result = agent.Untag(NodeTag(key=key), timeout=CALL_TIMEOUT_SECONDS)
    else:
        result = agent.Tag(NodeTag(key=key, value=value), timeout=CALL_TIMEOUT_SECONDS)
    if not result.ok:
        action = "deleted" if value is None else "set"
        raise CommandFailed(f"the tag {key} was not {action}: {result.message or 'the agent refused'}")


tags = GoCommand(
    "tags",
    _tags,
    params=[
        click.Option(
            ["set_", "--set"], multiple=True, metavar="KEY=VALUE", help="set a tag; may be repeated"
        ),
        click.Option(["--delete"], multiple=True, metavar="KEY", help="delete a tag; may be repeated"),
        OUTPUT,
        *setting_options(Command.CLIENT),
    ],
    help="Show this node's tags, or set and delete them. A tag svc:NAME with the value port=80,key=value,… "
    "announces a service. Names that begin with _ are reserved.",
)
