"""Key rotation, of WireGuard keys and of gossip keys."""
