"""Which first-party files a script reaches by its imports: what DVC must be told in `deps`."""

import ast
from pathlib import Path

# DVC sees parameters by their values and paths by the stages' own deps and outs.
EXEMPT = {"src/mammo/params.py", "src/mammo/paths.py"}


def reachable(script: str, root: Path) -> set[str]:
    """Follow the imports of `mammo` from a script; the script itself is included."""
    found: set[str] = set()
    waiting = [script]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for name in imported(root / path):
            waiting += [str(p) for p in module_files(name, root)]
    return {p for p in found if p not in EXEMPT and not p.endswith("mammo/__init__.py")}


def imported(path: Path) -> set[str]:
    """Name the `mammo` modules, and attributes that may be modules, that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.split(".")[0] == "mammo"}


def module_files(name: str, root: Path) -> list[Path]:
    """Find the files of a module: its own, and its packages' `__init__`; none for an attribute."""
    base = Path("src", *name.split("."))
    candidates = [base.with_suffix(".py"), base / "__init__.py"]
    candidates += [parent / "__init__.py" for parent in base.parents if len(parent.parts) > 1]
    return [path for path in candidates if (root / path).is_file()]
