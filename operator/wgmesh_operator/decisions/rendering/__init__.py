"""The objects the operator applies, as manifests."""
