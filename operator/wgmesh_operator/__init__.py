"""Kubernetes operator of wgmesh: pure decisions, and kopf and the Kubernetes client around them."""
