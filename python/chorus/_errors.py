"""What the package raises."""


class Error(RuntimeError):
    """Something failed that is not the caller's mistake: a full disk, a process that was killed."""


class UserError(Error, ValueError):
    """The caller's mistake: a wrong option, a file that is not what it should be, an unknown language."""


Error.__module__ = UserError.__module__ = "chorus"
