"""From the ledger to the WireGuard device."""
