"""The agent in Kubernetes: identity, addresses and roster come from the cluster."""
