"""Put report.md's results between the README's markers: `make readme`, after a run.

The table of results, and which parts of the network each strategy trains, a strategy a row.
"""

import re
from pathlib import Path

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
    """Return the README with the report's tables in their place."""
    components = first_table(report[report.index(COMPONENTS) :], "`")
    tables = f"{first_table(report, 'kappa')}\n\n{transposed(components)}"
    block = f"{START}\n{tables}\n\n{END}"
    return re.sub(f"{START}.*?{END}", lambda _: block, readme, flags=re.DOTALL)


if __name__ == "__main__":
    readme = Path("README.md")
    text = with_result(readme.read_text(encoding="utf-8"), Path("report.md").read_text("utf-8"))
    readme.write_text(text, encoding="utf-8")
