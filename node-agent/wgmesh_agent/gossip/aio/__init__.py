"""The asyncio shell of gossip: sockets, clock, randomness."""
