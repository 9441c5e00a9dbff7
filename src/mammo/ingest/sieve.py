"""Which images pass: a policy for each rule, and a record of what didn't pass and why."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import pandas as pd

from mammo.datasets.rows import ImageRow
from mammo.errors import FileFault
from mammo.ingest.inspection import Inspection
from mammo.ingest.params import Policies

QUARANTINE_COLUMNS = ["path", "patient_id", "reason", "detail"]


@dataclass(frozen=True)
class Candidate:
    """An image on its way: its row, completed from the header; its file; its flags so far."""

    row: ImageRow
    file: Inspection
    flags: tuple[str, ...] = ()

    @property
    def sop_instance_uid(self) -> str:
        """The object's identity, '' for a picture that isn't DICOM."""
        return self.file.header.sop_instance_uid if self.file.header else ""


class Sieve:
    """Applies the policies and remembers what didn't pass."""

    def __init__(self, policies: Policies):
        self._policies: dict[str, str] = policies.model_dump()
        self._rejected: list[tuple[str, str, str, str]] = []

    def flags(self, reason: str) -> bool:
        """Tell whether the policy for a reason keeps the image, flagged."""
        return self._policies.get(reason, "reject") != "reject"

    def reject(self, row: ImageRow, fault: FileFault) -> None:
        """Set an image aside."""
        self._rejected.append((row.path, row.patient_id, fault.reason, fault.detail))

    def judge(self, candidate: Candidate, faults: Iterable[FileFault]) -> Candidate | None:
        """Reject an image by its first fault whose policy says so, or flag it with them all."""
        flags = list(candidate.flags)
        for fault in faults:
            # A fault without a policy is one that nothing can be done with.
            if not self.flags(fault.reason):
                self.reject(candidate.row, fault)
                return None
            if fault.reason not in flags:
                flags.append(fault.reason)
        return replace(candidate, flags=tuple(sorted(flags)))

    def table(self) -> pd.DataFrame:
        """Make the sorted table of what was rejected: path, patient_id, reason, detail."""
        return pd.DataFrame(sorted(self._rejected), columns=QUARANTINE_COLUMNS, dtype=str)

    def passed(
        self, candidates: Iterable[Candidate], faults_of: Callable[[Candidate], Iterable[FileFault]]
    ) -> list[Candidate]:
        """Judge each image by its faults; return those that pass."""
        judged = (self.judge(candidate, faults_of(candidate)) for candidate in candidates)
        return [candidate for candidate in judged if candidate]
