"""What can go wrong below the daemon: one root, and one branch for each thing that answers badly."""


class BackEndError(Exception):
    """The data plane could not do what it was asked; the message says what, on which interface, and what to
    do.
    """


def number_of(error: BaseException) -> int | None:
    """The number (errno) of the first system error among an error and its causes; None if there is none."""
    current: BaseException | None = error
    while current is not None:
        # pyroute2 has it as `code`.
        number = current.errno if isinstance(current, OSError) else getattr(current, "code", None)
        if isinstance(number, int):
            return number
        current = current.__cause__
    return None


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
