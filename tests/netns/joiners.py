"""Many joiners in one process, run inside a lab host: each requests admission by a bootstrap node, and nothing more.

Its arguments: the mesh's name, this host's address, how many, and the bootstrap nodes (`address:port`), called in turn.
Prints a JSON object: mesh addresses by public key.
"""

import asyncio
import json
import os
import sys
from ipaddress import ip_address

from wgmesh_agent.mesh.join.client import JoinResult, join
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_agent.wireguard.model import Endpoint


async def main(mesh: str, own: str, count: int, bootstraps: list[str]) -> None:
    keys = [PrivateKey.generate(os.urandom).public() for _ in range(count)]

    async def one(number: int) -> JoinResult:
        return await join(
            bootstraps[number % len(bootstraps)],
            None,
            mesh=mesh,
            node=f"j{number}",
            public_key=keys[number],
            endpoint=Endpoint(ip_address(own), 20_000 + number),
        )

    admitted = await asyncio.gather(*(one(number) for number in range(count)))
    print(json.dumps({str(key): str(a.addresses[0]) for key, a in zip(keys, admitted, strict=True)}))


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]))
