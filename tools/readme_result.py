"""Put report.md's table of results between the README's markers: `make readme`, after a run."""

import re
from pathlib import Path

START, END = "<!-- result -->\n", "<!-- end of result -->"


def result_table(page: str) -> str:
    """Return the first table of a page in Markdown that has a column of kappa."""
    tables: list[str] = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    return next(table for table in tables if "kappa" in table.splitlines()[0]).rstrip()


def with_result(readme: str, report: str) -> str:
    """Return the README with the report's table in its place."""
    table = f"{START}\n{result_table(report)}\n\n{END}"
    return re.sub(f"{START}.*?{END}", lambda _: table, readme, flags=re.DOTALL)


if __name__ == "__main__":
    readme = Path("README.md")
    text = with_result(readme.read_text(encoding="utf-8"), Path("report.md").read_text("utf-8"))
    readme.write_text(text, encoding="utf-8")
