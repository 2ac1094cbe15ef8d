"""The WireGuard data plane: desired and actual state of the device, and the difference.

The backends that apply it, with the kernel or with `wireguard-go`, are in `linux.backends`.
"""
