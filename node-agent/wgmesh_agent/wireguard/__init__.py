"""The data plane: what WireGuard should hold, what it holds, the difference, and the two back ends that
make it so.

`keys`, `model`, `candidates`, `overlap`, `diff`, `outcome`, `mtu`, `uapi` and `genl` are pure; `underlay` and
`backends` are the shells that talk to the kernel and to `wireguard-go`.
"""
