"""Kernel interfaces: rtnetlink, generic netlink, sysctls, nftables."""
