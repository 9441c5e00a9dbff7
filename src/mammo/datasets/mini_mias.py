"""`mini_mias`: the mini-MIAS database of mammograms (Suckling et al., 1994).

`root` holds `mdb001.pgm` to `mdb322.pgm`; `table` is `Info.txt`: explanations, then lines such as
`mdb005 F CIRC B 477 133 30`, one a lesion, so a film may come twice. Saved by a spreadsheet they
have other separators, quotes or row numbers. The tissue is fatty (F), fatty-glandular (G) or
dense-glandular (D), which don't map to A-D. Films come in pairs, odd then even, of one person: odd
numbers are right breasts, even numbers left ones (Info.txt, note 1). All are mediolateral oblique
views.
"""

import re
from pathlib import Path

from mammo.datasets.folders import Finder, list_files
from mammo.datasets.label_tables import require_file
from mammo.datasets.rows import ImageRow, labelled, located
from mammo.errors import UserError

LABELS = {"F": "F", "G": "G", "D": "D"}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FILM = re.compile(r'^(?:"?\d*"?[,;\t])?[ \t"]*(mdb(\d{3}))"?[ \t,;]+"?([^\s,;"]+)', re.MULTILINE)


def read(root: Path, table: Path) -> list[ImageRow]:
    """Read one row a film.

    Raises:
        UserError: No line names a film.
    """
    require_file(table)
    content = table.read_bytes().removeprefix(_BYTE_ORDER_MARK)
    lines = "\n".join(content.decode("latin-1").splitlines())
    films = dict.fromkeys(match.groups() for match in _FILM.finditer(lines))
    if not films:
        raise UserError(f"{table}: must have lines such as 'mdb001 G CIRC B 535 425 197', got none")
    finder = Finder(list_files(root))
    return [_row(name, int(number), tissue, finder) for name, number, tissue in films]


def _row(name: str, number: int, tissue: str, finder: Finder) -> ImageRow:
    odd = number % 2 == 1
    first = number if odd else number - 1
    row = ImageRow(
        f"{name}.pgm",
        patient_id=f"mdb{first:03d}-mdb{first + 1:03d}",
        laterality="R" if odd else "L",
        view="MLO",
    )
    return labelled(located(row, finder), tissue, LABELS)
