"""What an agent leaves out of its libraries, and that it can live without; each in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGIN = "import sys; from wgmesh_agent.cli.library_parts import leave_out; "
ON_A_MACHINE = BEGIN + "leave_out(tls=False); "
IN_A_POD = BEGIN + "leave_out(tls=True); "
LOADED = "print(*(name for name, m in sys.modules.items() if m is not None))"
UNUSED = {
    "rich",
    "sqlite3",
    "unittest.case",
    "urllib.request",
    "http.client",
    "email.parser",
    "importlib.metadata",
    "zipfile",
}
HASHED = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""SHA-256 of `abc` (FIPS 180-4, appendix B.1)."""


def said(program: str, begin: str = ON_A_MACHINE) -> list[str]:
    """What the program prints, by words."""
    done = subprocess.run([sys.executable, "-c", begin + program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.heavy
def test_an_agent_imports_neither_rich_nor_what_it_does_not_use_of_pyroute2() -> None:
    loaded = said("import wgmesh_agent.agent.launch; " + LOADED)
    assert {"pyroute2.iproute.linux", "structlog", "jwt"} <= set(loaded)
    assert not UNUSED & {*loaded, *(name.split(".")[0] for name in loaded)}
    assert not {"ssl", "_ssl"} & set(loaded)
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
        "KubernetesApi()._use(Configuration())\n" + LOADED
    )
    words, *loaded = said(program, IN_A_POD)
    assert words == "this-pod-has-no"
    assert "kubernetes.client.api_client" in loaded
    assert "ssl" in loaded
    assert not {"websocket", "oauthlib", "requests", "kubernetes.config.kube_config"} & set(loaded)


def test_hashes_work_without_openssl() -> None:
    program = (
        "import hashlib, hmac; h = hashlib.sha256(b'abc').hexdigest(); print(h, hmac.compare_digest(h, h))"
    )
    assert said(program) == [HASHED, "True"]


def test_a_part_that_is_left_out_fails_by_its_name_when_it_is_used() -> None:
    program = (
        "from jwt import PyJWKClient\n"
        "try: PyJWKClient('https://keys.example')\n"
        "except RuntimeError as error: print(error)"
    )
    assert "library_parts.py" in said("pass\n" + program)[-1]


def test_a_library_that_is_loaded_already_stays_whole() -> None:
    program = (
        f"import pyroute2, rich, ssl, unittest; {ON_A_MACHINE} import rich.table, unittest.mock;"
        "print(pyroute2.NDB.__name__, rich.table.__name__, ssl.SSLContext.__name__, unittest.mock.Mock.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["NDB", "rich.table", "SSLContext", "Mock"], done.stderr
