"""The error that a user can act on."""


class UserError(Exception):
    """A fault of the input as a whole; its text names file and key and says what to do."""
