"""What can go wrong below the daemon: one root, and one branch for each thing that answers badly."""


class BackEndError(Exception):
    """The data plane could not do what it was asked; the message says what, on which interface, and what to
    do.
    """


class KernelError(BackEndError):
    """The kernel refused a netlink request, or answered what its interface does not allow. Chains the
    `OSError`.
    """


class UapiError(BackEndError):
    """A userspace WireGuard answered wrongly over its socket, refused a setting, or did not answer."""


class ForeignInterfaceError(BackEndError):
    """An interface of the wanted name exists and is not one this program made: it is left alone."""


class BackEndUnavailableError(BackEndError):
    """This machine lacks what the chosen back end needs."""


class InterfaceGoneError(BackEndError):
    """The interface vanished under the back end (removed by hand, or its process died): `open` it again."""
