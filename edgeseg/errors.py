"""Everything that edgeseg raises on purpose.

EdgesegError                 a user can mend it: the command line prints it without a traceback
├── UsageError               a wrong argument, file or data folder            exit code 2
├── EnvironmentFault         something is missing on this machine             exit code 3
│   └── CameraError          a camera is absent, busy or went away            exit code 3
├── BundleError              this bundle is damaged or made for another board exit code 4
└── CheckFailed              the program ran, and the answer is "no"          exit code 1

Any other exception is a bug of edgeseg (exit code 70).
"""


class EdgesegError(Exception):
    """A fault that the user can mend: what is wrong, and how to mend it.

    Args:
        message: what is wrong, with the value that was found.
        fix: the next step for the user, an imperative sentence or a command.
    """

    exit_code = 1

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return "{}\n  fix: {}".format(self.message, self.fix) if self.fix else self.message


class UsageError(EdgesegError):
    """A wrong argument, file or data folder."""

    exit_code = 2


class EnvironmentFault(EdgesegError):
    """A package, device, display or free space is missing on this machine."""

    exit_code = 3


class CameraError(EnvironmentFault):
    """A camera is absent, busy, or stopped sending frames."""


class BundleError(EdgesegError):
    """A bundle is damaged, not a bundle, or made for another board."""

    exit_code = 4


class CheckFailed(EdgesegError):
    """A check that the user asked for has failed (parity, accuracy, regression)."""

    exit_code = 1


EXIT_BUG = 70
EXIT_INTERRUPTED = 130
