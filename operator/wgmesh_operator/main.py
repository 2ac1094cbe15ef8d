"""The command `wgmesh-operator`: settings by flag or variable, then kopf until it is stopped."""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import socket
import sys
from typing import Any

import click
from cryptography import x509

from wgmesh_api.certificates import generate_key
from wgmesh_operator import probes, startup
from wgmesh_operator.api_client import ApiUnreachable, KubernetesClusterApi
from wgmesh_operator.clock import SystemClock
from wgmesh_operator.controller import Controller
from wgmesh_operator.decisions.agent_defaults import AgentDefaults
from wgmesh_operator.decisions.entropy import Entropy
from wgmesh_operator.liveness import LivenessCheck

log = logging.getLogger("wgmesh_operator")

ENTROPY = Entropy(key=generate_key, serial=x509.random_serial_number, random_bytes=secrets.token_bytes)
"""Of the operating system."""


@click.command(context_settings={"auto_envvar_prefix": "WGMESH_OPERATOR", "show_default": True})
@click.option("--namespace", required=True, help="the operator's namespace")
@click.option("--agent-image", required=True, help="image of the agents")
@click.option(
    "--agent-image-pull-policy",
    type=click.Choice(["Always", "IfNotPresent", "Never"]),
    default="IfNotPresent",
    help="image pull policy of the agents",
)
@click.option(
    "--agent-image-pull-secrets", default="", help="names of image pull secrets, separated by commas"
)
@click.option("--agent-cluster-role", default="wgmesh-agent", help="ClusterRole the agents are bound to")
@click.option("--agent-priority-class", default="", help="priority class of the agents' pods")
@click.option("--agent-resources", default="{}", help="requests and limits of the agents, as JSON")
@click.option("--tunnel-resources", default="{}", help="requests and limits of the tunnel pods, as JSON")
@click.option("--health-port", type=click.IntRange(1, 65535), default=8080, help="TCP port of /healthz")
@click.option("--log-format", type=click.Choice(["json", "text"]), default="json", help="log format")
@click.option("--verbose", is_flag=True, help="log at debug level")
@click.version_option(package_name="wgmesh")
def command(
    namespace: str,
    agent_image: str,
    agent_image_pull_policy: str,
    agent_image_pull_secrets: str,
    agent_cluster_role: str,
    agent_priority_class: str,
    agent_resources: str,
    tunnel_resources: str,
    health_port: int,
    log_format: str,
    verbose: bool,
) -> None:
    """The Kubernetes operator of wgmesh.

    Every flag may be given as a variable WGMESH_OPERATOR_*, such as WGMESH_OPERATOR_AGENT_IMAGE.
    """
    deployment = AgentDefaults(
        namespace=namespace,
        agent_image=agent_image,
        image_pull_policy=agent_image_pull_policy,
        image_pull_secrets=tuple(name for name in agent_image_pull_secrets.split(",") if name),
        agent_cluster_role=agent_cluster_role,
        priority_class=agent_priority_class,
        agent_resources=_resources("--agent-resources", agent_resources),
        tunnel_resources=_resources("--tunnel-resources", tunnel_resources),
    )
    sys.exit(run(deployment, health_port, as_json=log_format == "json", verbose=verbose))


def run(deployment: AgentDefaults, health_port: int, *, as_json: bool, verbose: bool) -> int:
    """Runs until a signal ends it; returns the exit code."""
    import kopf

    from wgmesh_operator import handlers

    kopf.configure(verbose=verbose, log_format=kopf.LogFormat.JSON if as_json else kopf.LogFormat.FULL)
    if not verbose:
        # of every event passed on and every probe answered
        logging.getLogger("kopf._cogs.clients.watching").addFilter(_DropRetryLines())
        logging.getLogger("kopf._cogs.clients.fetching").addFilter(_DropRetryLines())
        for talkative in ("kopf", "aiohttp.access"):
            logging.getLogger(talkative).setLevel(logging.WARNING)
    try:
        cluster = KubernetesClusterApi.from_environment(deployment.namespace, socket.gethostname())
    except ApiUnreachable as error:
        log.error("%s", error)
        return 1
    clock = SystemClock()
    progress = LivenessCheck(clock)
    controller = Controller(cluster, deployment, ENTROPY, progress, clock)
    health = probes.Health(progress, controller.rejections.counts)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(probes.probe_server(health_port, health.answer))
        except OSError as error:
            log.error(
                "cannot answer probes on port %d: %s: free the port, or set --health-port",
                health_port,
                error.strerror,
            )
            return 1
        # Probes are answered before kopf replaces this handler by its own.
        stack.enter_context(startup.ended_by_sigterm())
        startup.wait_for_api(cluster, clock)
        health.start()
        log.info(
            "wgmesh-operator in namespace %s, agents of %s", deployment.namespace, deployment.agent_image
        )
        kopf.run(
            registry=handlers.registry(controller),
            settings=handlers.settings(),
            standalone=True,
            namespaces=[deployment.namespace],
        )
    return 0


class _DropRetryLines(logging.Filter):
    """Drops lines of watches on each attempt to reach an API server that is down; the controller logs that once."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return not message.startswith("Request attempt") or "APIForbidden" in message


def _resources(flag: str, text: str) -> dict[str, Any]:
    try:
        resources = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint=flag) from error
    if not isinstance(resources, dict):
        raise click.BadParameter("expected an object of requests and limits", param_hint=flag)
    return resources


def main() -> None:
    """The command `wgmesh-operator`."""
    command()


if __name__ == "__main__":
    main()
