"""The same image twice: one of a patient's is kept, and two patients may not share one."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from mammo.errors import UserError
from mammo.ingest.header_rules import Fault
from mammo.ingest.sieve import Candidate, Sieve

EXAMPLES = 5  # in an error message


def without_duplicates(
    sieve: Sieve,
    candidates: Sequence[Candidate],
    reason: str,
    identity: Callable[[Candidate], str],
) -> list[Candidate]:
    """Keep the first, by path, of the images that share an identity within one patient.

    Raises:
        UserError: Images of two patients share one, so one of the two is wrongly labelled.
    """
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if identity(candidate):
            groups[identity(candidate)].append(candidate)
    doubles = [group for group in groups.values() if len(group) > 1]
    _require_one_patient_each(doubles, reason)
    faults: dict[str, Fault] = {}
    for group in doubles:
        first, *others = group
        facts = {(c.row.label, c.row.laterality, c.row.view) for c in group}
        if len(facts) > 1:
            detail = f"{reason}: {', '.join(c.row.path for c in group)} differ in the table"
            faults |= {c.row.path: Fault("conflicting_duplicates", detail) for c in group}
        else:
            detail = f"the same image as {first.row.path}"
            faults |= {c.row.path: Fault(reason, detail) for c in others}
    return sieve.passed(candidates, lambda c: [faults[c.row.path]] if c.row.path in faults else [])


def _require_one_patient_each(doubles: Iterable[Sequence[Candidate]], reason: str) -> None:
    shared = []
    for group in doubles:
        first = group[0].row
        other = next((c.row for c in group if c.row.patient_id != first.patient_id), None)
        if other:
            shared.append(
                f"{first.path} (patient {first.patient_id}) and "
                f"{other.path} (patient {other.patient_id})"
            )
    if shared:
        more = f" and {len(shared) - EXAMPLES} more" if len(shared) > EXAMPLES else ""
        raise UserError(
            f"dataset.table: {reason}: an image can't belong to two patients, got "
            f"{'; '.join(shared[:EXAMPLES])}{more}; give both one patient_id or remove one"
        )
