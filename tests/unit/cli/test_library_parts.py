"""What an agent leaves out of its libraries, and that it can live without; each in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGIN = "import sys; from wgmesh_agent.cli.library_parts import leave_out; leave_out(); "


def said(program: str) -> list[str]:
    """What the program prints, by words."""
    done = subprocess.run([sys.executable, "-c", BEGIN + program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.heavy
def test_an_agent_imports_neither_rich_nor_what_it_does_not_use_of_pyroute2() -> None:
    loaded = said(
        "import wgmesh_agent.agent.launch; print(*(name for name, m in sys.modules.items() if m is not None))"
    )
    assert "pyroute2.iproute.linux" in loaded
    assert "structlog" in loaded
    assert not [name for name in loaded if name.split(".")[0] in ("rich", "sqlite3")]
    assert not [
        name for name in loaded if name.startswith(("pyroute2.ndb", "pyroute2.plan9", "pyroute2.conntrack"))
    ]


def test_what_is_left_of_pyroute2_asks_the_kernel() -> None:
    program = (
        "from wgmesh_agent.linux.rtnetlink import open_rtnetlink\n"
        "from wgmesh_agent.linux.wireguard_interface import find_interface\n"
        "with open_rtnetlink('looking') as ipr:\n"
        "    print(find_interface(ipr, 'lo').name, find_interface(ipr, 'no-such-link'))\n"
    )
    assert said(program) == ["lo", "None"]


@pytest.mark.heavy
def test_an_agent_in_a_pod_imports_of_kubernetes_what_it_talks_with() -> None:
    # Outside a pod it says so; that it gets there shows that what is needed is there.
    program = (
        "import asyncio\n"
        "from wgmesh_agent.kube.api_client import ApiError, KubernetesApi\n"
        "try: asyncio.run(KubernetesApi().connect())\n"
        "except ApiError as error: print(*str(error).split()[:4], sep='-')\n"
        "from kubernetes.client.configuration import Configuration\n"
        "KubernetesApi()._use(Configuration())\n"
        "print(*(name for name, m in sys.modules.items() if m is not None))"
    )
    words, *loaded = said(program)
    assert words == "no-service-account-here:"
    assert "kubernetes.client.api_client" in loaded
    assert not {"websocket", "oauthlib", "requests", "kubernetes.config.kube_config"} & set(loaded)


def test_a_library_that_is_loaded_already_stays_whole() -> None:
    program = "import pyroute2, rich; leave_out(); import rich.table; print(pyroute2.NDB.__name__, rich.table.__name__)"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            program.replace("leave_out()", BEGIN.removeprefix("import sys; ").rstrip("; ")),
        ],
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["NDB", "rich.table"], done.stderr
