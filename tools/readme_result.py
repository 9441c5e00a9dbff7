"""Put report.md's results between the README's markers: `make readme`, after a run.

The table of results, and which parts of the network each strategy trains, a strategy a row.
"""

import re
import sys
from pathlib import Path

from mammo.errors import UserError

START, END = "<!-- result -->\n", "<!-- end of result -->"
COMPONENTS = "## Trainable parameters by component"


def first_table(page: str, column: str) -> str:
    """Return a page's first table in Markdown whose head names a column."""
    tables: list[str] = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    return next(table for table in tables if column in table.splitlines()[0]).rstrip()


def transposed(table: str) -> str:
    """Turn a table in Markdown: rows become columns, the head's names the first column."""
    head, _, *rows = ([c.strip() for c in line[1:-1].split("|")] for line in table.splitlines())
    turned = [list(cells) for cells in zip(head, *rows, strict=True)]
    lines = [turned[0], ["---"] * len(turned[0]), *turned[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def with_result(readme: str, report: str) -> str:
    """Return the README with the report's tables in their place.

    Raises:
        UserError: The report lacks a table, or the README its markers.
    """
    if not (re.search(r"^\|.*kappa", report, re.MULTILINE) and COMPONENTS in report):
        raise UserError("report.md: must hold the tables of a whole run; call `dvc repro`")
    if not re.search(f"{START}.*?{END}", readme, re.DOTALL):
        raise UserError(
            f"README.md: must hold the lines {START.strip()} and {END}, between which the tables go"
        )
    components = first_table(report[report.index(COMPONENTS) :], "`")
    tables = f"{first_table(report, 'kappa')}\n\n{transposed(components)}"
    block = f"{START}\n{tables}\n\n{END}"
    return re.sub(f"{START}.*?{END}", lambda _: block, readme, flags=re.DOTALL)


def main() -> None:
    """Write the README anew."""
    readme, report = Path("README.md"), Path("report.md")
    if not report.is_file():
        sys.exit("error: report.md: no such file; `dvc repro` writes it")
    try:
        text = with_result(readme.read_text(encoding="utf-8"), report.read_text("utf-8"))
    except UserError as error:
        sys.exit(f"error: {error}")
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
