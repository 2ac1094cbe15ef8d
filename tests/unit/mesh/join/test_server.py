"""The Mesh service over real gRPC: mutual TLS, tokens, refusals in words, and joiners of the original."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import grpc
import pytest
from tests.unit.local import LocalClaim, local_node
from tests.unit.mesh.join.server_harness import (
    BOOT_RECORD,
    BOOTSTRAP_KEY,
    DELETED,
    GOSSIP_KEY,
    OLD_KEY,
    OWN,
    Authority,
    Bench,
    QuietMesh,
    Unsigned,
    files,
    request_join,
)

from wgmesh_agent.mesh.credentials import Credentials, TLSFileError, load_tls_files
from wgmesh_agent.mesh.join.address_allocator import AddressAllocator
from wgmesh_agent.mesh.join.client import JoinRefused, JoinResult, JoinUnreachable, join, peers_of
from wgmesh_agent.mesh.join.decision import DenialReason
from wgmesh_agent.mesh.join.registrar import Registrar
from wgmesh_agent.mesh.join.server import MeshService, serve
from wgmesh_agent.mesh.join.tokens import TokenFault, TokenStore, sign
from wgmesh_agent.mesh.membership.claims import Binding
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.runtime.clock import SystemClock
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress
from wgmesh_api.identity import Role
from wgmesh_api.meshservice_pb2 import Empty, HandshakeRequest, JoinRequest, JoinResponse, Peer
from wgmesh_api.meshservice_pb2_grpc import MeshStub


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@contextlib.asynccontextmanager
async def serving(authority: Authority, *, tls: bool, mesh: QuietMesh) -> AsyncIterator[Bench]:
    """A Mesh service at work."""
    ranges = (ip_network("10.232.0.0/16"),)
    ledger = Ledger(LocalClaim(OWN.node, OWN.public_key, OWN.addresses, ranges))
    rejections = RejectionLog()
    numbers = itertools.count()
    service = MeshService(
        local_node(BOOT_RECORD, BOOTSTRAP_KEY),
        Registrar("blue", ledger, AddressAllocator(ranges), mesh),
        TokenStore(lambda: f"{next(numbers):043}"),
        Unsigned(),
        rejections,
        SystemClock(),
    )
    # gRPC does not say which port it got here, so a free one is found first
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    credentials = authority.credentials("boot", Role.BOOTSTRAP)
    server = await serve(service, address, credentials if tls else None)
    yield Bench(address, tls, rejections, ledger, credentials)
    await server.stop(None)


@pytest.fixture(params=[True, False], ids=["tls", "dev"])
async def bench(request: pytest.FixtureRequest, authority: Authority) -> AsyncIterator[Bench]:
    async with serving(authority, tls=bool(request.param), mesh=QuietMesh()) as made:
        yield made


async def test_a_joiner_learns_all_it_needs(bench: Bench, authority: Authority) -> None:
    admitted = await request_join(bench, files(bench, authority, "alpha"), node="alpha")
    assert admitted.node == "alpha"
    assert admitted.addresses == (ip_address("10.232.0.1"),)
    assert admitted.ranges == (ip_network("10.232.0.0/16"),)
    assert admitted.created_unix == 1234
    assert (admitted.gossip_keys, admitted.gossip_keys_since) == ((GOSSIP_KEY, OLD_KEY), 17)
    assert (admitted.profile, admitted.gossip_port) == ("lan", 7946)
    assert admitted.peers == (OWN,)
    assert "gossip_keys=" not in repr(admitted)


async def test_a_second_joiner_is_told_of_the_first(bench: Bench, authority: Authority) -> None:
    await request_join(bench, files(bench, authority, "alpha"), 1, "alpha")
    second = await request_join(bench, files(bench, authority, "beta"), 2, "beta")
    assert [peer.node for peer in second.peers] == ["boot", "alpha"]


async def test_both_are_told_at_once_which_secrets_the_other_holds(
    bench: Bench, authority: Authority
) -> None:
    """So that the very first handshake can have a pre-shared key."""
    where = Endpoint(ip_address("192.0.2.1"), 54540)
    for number, node, held in ((1, "alpha", (b"aaaa", b"bbbb")), (2, "beta", ()), (1, "alpha", (b"bbbb",))):
        admitted = await join(
            bench.address,
            files(bench, authority, node),
            mesh="blue",
            node=node,
            public_key=PublicKey(number.to_bytes(32, "big")),
            endpoint=where,
            secret_ids=held,
        )
        binding = bench.ledger.by_name(node)
        assert binding is not None
        assert binding.claim.secret_ids == held
        told = {peer.node: peer.secret_ids for peer in admitted.peers}
        assert told["boot"] == OWN.secret_ids
        if node == "beta":
            assert told["alpha"] == (b"aaaa", b"bbbb")


@pytest.mark.heavy
async def test_a_hundred_joins_at_once_get_a_hundred_addresses(bench: Bench, authority: Authority) -> None:
    joins = (request_join(bench, files(bench, authority, f"n{n}"), n, f"n{n}") for n in range(1, 101))
    admitted = await asyncio.gather(*joins)
    assert len({one.addresses for one in admitted}) == 100
    assert len(bench.ledger) == 100


async def test_another_mesh_is_refused_in_words(bench: Bench, authority: Authority) -> None:
    with pytest.raises(JoinRefused, match="a mesh other"):
        await request_join(bench, files(bench, authority, "alpha"), mesh="green")
    assert bench.denials() == {DenialReason.WRONG_MESH: 1}


async def test_a_join_without_a_token_is_refused(bench: Bench, authority: Authority) -> None:
    tls = files(bench, authority, "alpha")
    async with channel(bench, tls) as open_channel:
        stub = MeshStub(open_channel)  # type: ignore[no-untyped-call]
        asked = JoinRequest(
            pubkey=str(PublicKey(bytes([1]) * 32)), endpointIP="192.0.2.1", endpointPort=1, meshName="blue"
        )
        answer = await stub.Join(asked)
        assert answer.result == JoinResponse.ERROR
        assert answer.errorMessage == TokenFault.MISSING.value
        token = (await stub.Begin(HandshakeRequest(meshName="blue"))).joinToken
        metadata = (("authorization", sign(token, time.time())),)
        assert (await stub.Join(asked, metadata=metadata)).result == JoinResponse.OK
        assert (await stub.Join(asked, metadata=metadata)).errorMessage == TokenFault.REUSED.value
    assert bench.denials() == {DenialReason.TOKEN: 2}


async def test_a_joiner_of_the_original_reads_what_it_knows(bench: Bench, authority: Authority) -> None:
    """It sends no name, ignores every field from 16 on, and reads Peers without any metadata."""
    async with channel(bench, files(bench, authority, "blueAE80001")) as open_channel:
        stub = MeshStub(open_channel)  # type: ignore[no-untyped-call]
        token = (await stub.Begin(HandshakeRequest(meshName="blue"))).joinToken
        asked = JoinRequest(
            pubkey=str(PublicKey(bytes([1]) * 32)), endpointIP="192.0.2.1", endpointPort=1, meshName="blue"
        )
        answer = await stub.Join(asked, metadata=(("authorization", sign(token, time.time())),))
        old = (answer.joiningNodeMeshIP, answer.meshCidr, answer.creationTS, answer.serfModeLAN)
        assert old == ("10.232.0.1", "10.232.0.0/16", 1234, True)
        peers = [peer async for peer in stub.Peers(Empty())]
        first = peers[0]
        assert (first.type, first.meshIP, first.endpointIP, first.endpointPort) == (
            Peer.JOIN,
            "10.232.1.1",
            "192.0.2.9",
            54540,
        )


class SlowMesh(QuietMesh):
    """Takes time to program and announce the nodes that it admits."""

    def __init__(self) -> None:
        self.begun, self.let_go, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def on_admitted(self, binding: Binding, replaced: Binding | None) -> None:
        self.begun.set()
        await self.let_go.wait()
        self.ended.set()


async def test_an_admission_that_was_begun_is_ended_when_its_caller_has_gone(authority: Authority) -> None:
    mesh = SlowMesh()
    async with serving(authority, tls=True, mesh=mesh) as bench, asyncio.timeout(10):
        joining = asyncio.create_task(request_join(bench, authority.credentials("alpha"), node="alpha"))
        await mesh.begun.wait()
        joining.cancel()
        await asyncio.gather(joining, return_exceptions=True)
        # The server receives it before it answers later requests.
        async with channel(bench, authority.credentials("beta")) as other:
            for _ in range(3):
                await MeshStub(other).Begin(HandshakeRequest(meshName="blue"))  # type: ignore[no-untyped-call]
        mesh.let_go.set()
        await mesh.ended.wait()
        assert bench.ledger.by_name("alpha") is not None


@pytest.fixture
def nobodys_port() -> Iterator[int]:
    """Occupied, so that no other program gets it, and without a listener."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
@pytest.mark.parametrize("at", [(), (ip_address("127.0.0.1"),)], ids=["address", "name"])
async def test_a_proxy_in_the_environment_is_not_asked_for_a_bootstrap_node(
    bench: Bench,
    authority: Authority,
    variable: str,
    at: tuple[IPAddress, ...],
    nobodys_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for exception in ("no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(exception, raising=False)
    monkeypatch.setenv(variable, f"http://127.0.0.1:{nobodys_port}")
    tls = files(bench, authority, "alpha")
    assert bench.credentials is not None
    if at:
        bench.credentials.files = authority.files("boot", Role.BOOTSTRAP, dns_name="bootstrap.invalid")
    admitted = await join(
        named(bench.address) if at else bench.address,
        tls,
        mesh="blue",
        node="alpha",
        public_key=PublicKey((1).to_bytes(32, "big")),
        endpoint=Endpoint(ip_address("192.0.2.1"), 54540),
        at=at,
    )
    assert admitted.node == "alpha"


@pytest.mark.parametrize("bench", [True], indirect=True, ids=["tls"])
class TestWithTLS:
    async def test_a_certificate_of_another_authority_gets_no_connection(self, bench: Bench) -> None:
        with pytest.raises(JoinUnreachable):
            await request_join(bench, Authority().credentials("alpha"))

    async def test_no_certificate_gets_no_connection(self, bench: Bench, authority: Authority) -> None:
        bare = grpc.ssl_channel_credentials(authority.files("x").authorities)
        async with grpc.aio.secure_channel(bench.address, bare) as open_channel:
            stub = MeshStub(open_channel)  # type: ignore[no-untyped-call]
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Begin(HandshakeRequest(meshName="blue"), timeout=5)

    async def test_a_certificate_of_another_node_is_refused(self, bench: Bench, authority: Authority) -> None:
        with pytest.raises(JoinRefused, match="certificate is for the node beta"):
            await request_join(bench, authority.credentials("beta"), node="alpha")

    async def test_the_certificate_gives_the_name(self, bench: Bench, authority: Authority) -> None:
        assert (await request_join(bench, authority.credentials("beta"))).node == "beta"

    async def test_a_token_is_worth_nothing_to_another_certificate(
        self, bench: Bench, authority: Authority
    ) -> None:
        async with (
            channel(bench, authority.credentials("alpha")) as one,
            channel(bench, authority.credentials("beta")) as two,
        ):
            begun = await MeshStub(one).Begin(HandshakeRequest(meshName="blue"))  # type: ignore[no-untyped-call]
            asked = JoinRequest(
                pubkey=str(PublicKey(bytes([1]) * 32)),
                endpointIP="192.0.2.1",
                endpointPort=1,
                meshName="blue",
            )
            metadata = (("authorization", sign(begun.joinToken, time.time())),)
            answer = await MeshStub(two).Join(asked, metadata=metadata)  # type: ignore[no-untyped-call]
            assert answer.errorMessage == TokenFault.FOREIGN.value

    async def test_whoever_the_roster_has_no_more_gets_no_token_and_no_peers(
        self, bench: Bench, authority: Authority
    ) -> None:
        async with channel(bench, authority.credentials(DELETED)) as open_channel:
            stub = MeshStub(open_channel)  # type: ignore[no-untyped-call]
            refused = await stub.Begin(HandshakeRequest(meshName="blue"))
            assert (refused.joinToken, refused.errorMessage) == ("", f"the roster has no member {DELETED}")
            with pytest.raises(grpc.aio.AioRpcError) as denied:
                await stub.Peers(Empty()).read()
            assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("bench", [True], indirect=True, ids=["tls"])
async def test_renewed_certificates_are_used_without_a_restart(bench: Bench) -> None:
    other = Authority()
    with pytest.raises(JoinUnreachable):
        await request_join(bench, other.credentials("alpha"))
    assert bench.credentials is not None
    bench.credentials.files = other.files("boot", Role.BOOTSTRAP)
    assert (await request_join(bench, other.credentials("alpha"))).node == "alpha"


@pytest.mark.parametrize("bench", [True], indirect=True, ids=["tls"])
async def test_who_asks_by_name_finds_a_bootstrap_node_at_an_address_its_certificate_does_not_have(
    bench: Bench, authority: Authority
) -> None:
    assert bench.credentials is not None
    bench.credentials.files = authority.files("boot", Role.BOOTSTRAP, dns_name="bootstrap.blue.wgmesh.dev")
    with pytest.raises(JoinUnreachable, match="does not cover the address"):
        await request_join(bench, authority.credentials("alpha"))
    by_name = Credentials(authority.files("alpha"), "bootstrap.blue.wgmesh.dev")
    assert (await request_join(bench, by_name)).node == "alpha"
    with pytest.raises(JoinUnreachable):
        await request_join(bench, Credentials(authority.files("alpha"), "bootstrap.green.wgmesh.dev"))


def test_the_server_is_given_credentials_anew_only_when_they_changed(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_at_each_handshake: list[Callable[[], object]] = []

    def remember(
        initial: object, fetch: Callable[[], object], *, require_client_authentication: bool
    ) -> object:
        asked_at_each_handshake.append(fetch)
        return initial

    monkeypatch.setattr(grpc, "dynamic_ssl_server_credentials", remember)
    credentials = authority.credentials("boot", Role.BOOTSTRAP)
    credentials.server()
    (fetch,) = asked_at_each_handshake
    assert [fetch(), fetch()] == [None, None]
    credentials.files = authority.files("boot", Role.BOOTSTRAP)
    assert fetch() is not None
    assert fetch() is None


async def test_a_bootstrap_node_that_is_not_there_is_unreachable(authority: Authority) -> None:
    nobody = Bench("127.0.0.1:1", False, RejectionLog(), Ledger(LocalClaim("x", OWN.public_key, (), ())))
    with pytest.raises(JoinUnreachable, match="no connection"):
        await request_join(nobody, None)


def test_a_key_that_is_not_the_certificates_is_named(tmp_path: Path, authority: Authority) -> None:
    one, two = authority.files("a"), authority.files("b")
    for name, data in {"key": one.key, "cert": two.certificate, "ca": one.authorities}.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(TLSFileError, match="is not the private key of"):
        load_tls_files(tmp_path / "key", tmp_path / "cert", authority=tmp_path / "ca", folder=None)


def test_authorities_are_read_from_a_folder(tmp_path: Path, authority: Authority) -> None:
    one = authority.files("a")
    (tmp_path / "key").write_bytes(one.key)
    (tmp_path / "cert").write_bytes(one.certificate)
    folder = tmp_path / "authorities"
    folder.mkdir()
    (folder / "one.pem").write_bytes(one.authorities)
    (folder / "two.crt").write_bytes(Authority().files("x").authorities)
    (folder / "README").write_text("no certificate")
    loaded = load_tls_files(tmp_path / "key", tmp_path / "cert", authority=None, folder=folder)
    assert loaded.authorities.count(b"BEGIN CERTIFICATE") == 2
    with pytest.raises(TLSFileError, match="cannot be read"):
        load_tls_files(tmp_path / "absent", tmp_path / "cert", authority=None, folder=folder)


def channel(bench: Bench, tls: Credentials | None) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(bench.address)
    return grpc.aio.secure_channel(bench.address, tls.channel())


def machine(number: int) -> PrivateKey:
    return PrivateKey.generate(lambda size: bytes([number]) * size)


async def come(
    bench: Bench,
    tls: Credentials | None,
    number: int,
    replaces: PrivateKey | None = None,
    before: list[str] | None = None,
) -> JoinResult:
    async def note() -> None:
        if before is not None:
            before.append("switched")

    return await join(
        bench.address,
        tls,
        mesh="blue",
        node="alpha",
        public_key=machine(number).public(),
        endpoint=Endpoint(ip_address("192.0.2.1"), 54540),
        replaces=replaces,
        before_joining=note,
    )


async def test_who_shows_the_earlier_key_takes_its_own_place_while_it_lives(
    bench: Bench, authority: Authority
) -> None:
    tls = files(bench, authority, "alpha")
    first = await come(bench, tls, 1)
    before: list[str] = []
    again = await come(bench, tls, 2, machine(1), before)
    assert before == ["switched"]
    assert again.addresses == first.addresses
    assert bench.ledger.by_key(machine(1).public()) is None
    assert bench.ledger.by_key(machine(2).public()) is not None
    assert (await come(bench, tls, 2, machine(1))).addresses == first.addresses


@pytest.mark.parametrize("given", [b"", b"x" * 32])
async def test_a_proof_that_is_none_is_refused(bench: Bench, authority: Authority, given: bytes) -> None:
    tls = files(bench, authority, "alpha")
    await come(bench, tls, 1)
    async with channel(bench, tls) as open_channel:
        stub = MeshStub(open_channel)  # type: ignore[no-untyped-call]
        token = (await stub.Begin(HandshakeRequest(meshName="blue"))).joinToken
        asked = JoinRequest(
            pubkey=str(machine(2).public()),
            endpointIP="192.0.2.1",
            endpointPort=54540,
            meshName="blue",
            nodeName="alpha",
            replaces=machine(1).public().raw,
            replacesProof=given,
        )
        answer = await stub.Join(asked, metadata=(("authorization", sign(token, time.time())),))
    assert "no proof that this machine holds the previous key" in answer.errorMessage
    assert bench.denials()[DenialReason.PROOF] == 1
    assert bench.ledger.by_key(machine(1).public()) is not None


async def test_nothing_is_switched_where_no_bootstrap_node_answers() -> None:
    before: list[str] = []

    async def note() -> None:
        before.append("switched")

    with pytest.raises(JoinUnreachable):
        await join(
            "127.0.0.1:1",
            None,
            mesh="blue",
            node="alpha",
            public_key=machine(2).public(),
            endpoint=Endpoint(ip_address("192.0.2.1"), 54540),
            replaces=machine(1),
            before_joining=note,
        )
    assert before == []


def named(address: str) -> str:
    """The same port of a host whose name does not resolve."""
    return f"bootstrap.invalid:{address.rpartition(':')[2]}"


@pytest.mark.parametrize("first", [(), (ip_address("::1"),)], ids=["ipv4", "both families"])
async def test_a_named_bootstrap_node_is_asked_at_the_addresses_found_and_no_name_server(
    bench: Bench, authority: Authority, first: tuple[IPAddress, ...]
) -> None:
    tls = Credentials(authority.files("alpha")) if bench.tls else None
    bench.credentials.files = authority.files("boot", Role.BOOTSTRAP, dns_name="bootstrap.invalid")  # type: ignore[union-attr]
    at, own_key = (*first, ip_address("127.0.0.1")), PublicKey(bytes(32))
    admitted = await join(
        named(bench.address),
        tls,
        mesh="blue",
        node="alpha",
        public_key=PublicKey((1).to_bytes(32, "big")),
        endpoint=Endpoint(ip_address("192.0.2.1"), 54540),
        at=at,
    )
    assert admitted.node == "alpha"
    assert [claim.node for claim in await peers_of(named(bench.address), tls, own_key, at=at)] == [
        "boot",
        "alpha",
    ]


async def test_the_certificate_must_name_whom_was_asked_for_and_not_only_the_address(
    bench: Bench, authority: Authority
) -> None:
    if not bench.tls:
        return
    with pytest.raises(JoinUnreachable, match="does not cover the address"):
        await peers_of(
            named(bench.address),
            authority.credentials("alpha"),
            PublicKey(bytes(32)),
            at=(ip_address("127.0.0.1"),),
        )
