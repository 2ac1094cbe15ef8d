"""The data plane: what WireGuard should hold, what it holds, and the difference. Pure.

The back ends that make it so, with the kernel or with `wireguard-go`, are in `linux.backends`.
"""
