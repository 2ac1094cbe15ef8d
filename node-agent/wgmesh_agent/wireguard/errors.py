"""Errors of the data plane: one root, and one branch per failing component."""


class BackEndError(Exception):
    """The data plane could not perform an operation; the message says which, on which interface, and what to do."""


def number_of(error: BaseException) -> int | None:
    """Returns the number (errno) of the first system error among an error and its causes; None if there is none."""
    current: BaseException | None = error
    while current is not None:
        # pyroute2 stores it in `code`.
        number = current.errno if isinstance(current, OSError) else getattr(current, "code", None)
        if isinstance(number, int):
            return number
        current = current.__cause__
    return None


class KernelError(BackEndError):
    """The kernel rejected a netlink request, or sent a response that its interface does not allow. Chains the
    `OSError`."""


class UapiError(BackEndError):
    """A userspace WireGuard sent an invalid response over its socket, rejected a setting, or did not respond."""


class ForeignInterfaceError(BackEndError):
    """An interface with the desired name exists and does not belong to this program: it is not changed."""


class BackEndUnavailableError(BackEndError):
    """This machine lacks a requirement of the chosen backend."""


class InterfaceGoneError(BackEndError):
    """The interface disappeared (removed manually, or its process exited): `open` it again."""
