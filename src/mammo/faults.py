"""The fault of one file: it costs that file and never the run."""


class DicomError(Exception):
    """One file can't be used.

    Attributes:
        reason: A code for tables and counts, lower_snake_case.
        detail: What was found, for people; names tag or marker, rule and value.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["DicomError"], tuple[str, str]]:
        """Rebuild from both arguments: exceptions cross process borders."""
        return type(self), (self.reason, self.detail)
