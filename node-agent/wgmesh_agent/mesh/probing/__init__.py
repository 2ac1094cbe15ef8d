"""Liveness and path MTU inside the tunnel."""
