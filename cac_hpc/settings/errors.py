"""Errors that end a command: of each people see one line, and no traceback."""


class InputError(ValueError):
    """The user's input is wrong: one line that names where, what was found, what was wanted. Ends with exit code 2."""


class WorkError(RuntimeError):
    """The work cannot go on: one line that says where, why and what to do. Ends with exit code 1."""
