"""What wgmesh adds to gossip and WireGuard: one package per mechanism, pure cores beside their shells."""
