"""The running agent: joins the pure cores to gossip, WireGuard, gRPC and disk."""
