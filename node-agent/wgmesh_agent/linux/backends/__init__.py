"""`wireguard.backend.Backend` on Linux."""
