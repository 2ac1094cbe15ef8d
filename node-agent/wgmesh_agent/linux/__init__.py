"""All that touches the kernel: rtnetlink, generic netlink, sysctls, nftables."""
