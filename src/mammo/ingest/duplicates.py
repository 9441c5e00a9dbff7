"""The same image twice: one of a patient's is kept, and two patients may not share one."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from mammo.errors import FileFault, UserError
from mammo.ingest.sieve import Candidate, Sieve

EXAMPLES = 5  # in an error message

Groups = list[list[Candidate]]


def without_repeated_pixels(sieve: Sieve, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Keep the first, by path, of a patient's images that hold the same pixels.

    Of a compressed stream nobody can tell here if it shows anything: two patients' are flagged,
    and `preprocess` stops where their tensors do.

    Raises:
        UserError: Images of two patients are one, so one of the two is wrongly labelled.
    """
    reason = "duplicate_pixels"
    groups = _groups(candidates, lambda image: image.file.pixels_sha256)
    across = [group for group in groups if _patients(group) > 1]
    certain = [group for group in across if all(c.file.native for c in group)]
    _require_one_patient_each(certain, reason, "")
    shared = {c.row.path for group in across for c in group}
    faults: dict[str, FileFault] = {}
    for group in groups:
        if _patients(group) == 1:
            faults |= _of_one_image(group, reason)
    passed = _judged(sieve, candidates, faults)
    return [_flagged(c, "pixels_of_two_patients") if c.row.path in shared else c for c in passed]


def without_repeated_uids(sieve: Sieve, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Keep the first, by path, of a patient's images that share a SOPInstanceUID.

    Careless de-identification writes one dummy UID into every file: under the policy `flag` it is
    no identity where the pixels differ.

    Raises:
        UserError: Images of two patients share one, and the policy isn't `flag` or they are one.
    """
    reason = "duplicate_sop_instance_uid"
    groups = _groups(candidates, lambda image: image.sop_instance_uid)
    suspect = [
        group for group in groups if not (sieve.flags(reason) and _pixels(group) == len(group))
    ]
    _require_one_patient_each(
        [group for group in suspect if _patients(group) > 1],
        reason,
        "; where de-identification wrote the same UID into every file, set "
        "ingest.policies.duplicate_sop_instance_uid: flag",
    )
    faults: dict[str, FileFault] = {}
    for group in groups:
        if group in suspect:
            faults |= _of_one_image(group, reason)
        else:
            detail = f"the SOPInstanceUID of {group[0].row.path}, other pixels"
            faults |= {c.row.path: FileFault(reason, detail) for c in group[1:]}
    return _judged(sieve, candidates, faults)


def _groups(candidates: Sequence[Candidate], identity: Callable[[Candidate], str]) -> Groups:
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if identity(candidate):
            groups[identity(candidate)].append(candidate)
    return [group for group in groups.values() if len(group) > 1]


def _patients(group: Sequence[Candidate]) -> int:
    return len({candidate.row.patient_id for candidate in group})


def _pixels(group: Sequence[Candidate]) -> int:
    """Count the different images; blank ones, which have no digest, are each their own."""
    digests = [candidate.file.pixels_sha256 for candidate in group]
    return len({digest for digest in digests if digest}) + digests.count("")


def _of_one_image(group: Sequence[Candidate], reason: str) -> dict[str, FileFault]:
    """Say what is wrong with the files of one image: all but the first, or all in conflict."""
    first, *others = group
    if len({(c.row.label, c.row.laterality, c.row.view) for c in group}) > 1:
        detail = f"{reason}: {', '.join(c.row.path for c in group)} differ in the table"
        return {c.row.path: FileFault("conflicting_duplicates", detail) for c in group}
    return {c.row.path: FileFault(reason, f"the same image as {first.row.path}") for c in others}


def _judged(
    sieve: Sieve, candidates: Sequence[Candidate], faults: dict[str, FileFault]
) -> list[Candidate]:
    return sieve.passed(candidates, lambda c: [faults[c.row.path]] if c.row.path in faults else [])


def _flagged(candidate: Candidate, flag: str) -> Candidate:
    return replace(candidate, flags=tuple(sorted({*candidate.flags, flag})))


def _require_one_patient_each(
    groups: Iterable[Sequence[Candidate]], reason: str, remedy: str
) -> None:
    shared = []
    for group in groups:
        first = group[0].row
        other = next(c.row for c in group if c.row.patient_id != first.patient_id)
        shared.append(
            f"{first.path} (patient {first.patient_id}) and "
            f"{other.path} (patient {other.patient_id})"
        )
    if shared:
        more = f" and {len(shared) - EXAMPLES} more" if len(shared) > EXAMPLES else ""
        raise UserError(
            f"dataset.table: {reason}: an image can't belong to two patients, got "
            f"{'; '.join(shared[:EXAMPLES])}{more}; give both one patient_id or remove one{remedy}"
        )
