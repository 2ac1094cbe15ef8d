"""Lab: hosts in network namespaces on one machine, for `wgmesh demo` and for this project's own tests."""
