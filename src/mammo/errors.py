"""The error that a user can act on."""


class UserError(Exception):
    """A fault of the input as a whole; its text names file and key and says what to do."""


class FileFault(Exception):
    """One file can't be used.

    Attributes:
        reason: A code for tables and counts, lower_snake_case.
        detail: What was found, for people; names tag or marker, rule and value.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["FileFault"], tuple[str, str]]:
        """Rebuild from both arguments: exceptions cross process borders."""
        return type(self), (self.reason, self.detail)
