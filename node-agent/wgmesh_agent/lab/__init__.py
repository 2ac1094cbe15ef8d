"""Several machines on one: hosts made of Linux namespaces, for `wgmesh demo` and for this project's own tests."""
