"""By which way a peer is reached: where it says it is, where others see it, or through a relay. Pure."""
