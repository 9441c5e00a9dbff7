"""Which first-party packages a script reaches by its imports: what DVC must be told in `deps`."""

import ast
from pathlib import Path
from typing import TypeGuard

# Modules directly in `mammo/` change no output byte; `check` alone is one of its stage.
EXEMPT = {"errors", "paths", "params", "stage", "dvc_yaml", "fingerprint", "locks"}


def reachable(script: str, root: Path) -> set[str]:
    """Follow the imports of `mammo` from a script: files; the script itself is included."""
    found: set[str] = set()
    waiting = [script]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for name in imported(root / path):
            waiting += [str(p) for p in module_files(name, root)]
    return {p for p in found if not p.endswith("__init__.py")}


def code_deps(script: str, root: Path) -> set[str]:
    """List what a stage must depend on: its script, and each package that it reaches.

    Of a package of which nothing but its `params` is reached, that file alone.
    """
    deps = {script}
    reached = [Path(p).relative_to("src/mammo") for p in reachable(script, root) - {script}]
    for package in {p.parts[0] for p in reached if len(p.parts) > 1}:
        inside = {p.as_posix() for p in reached if p.parts[0] == package}
        alone = inside == {f"{package}/params.py"}
        deps.add(f"src/mammo/{package}/params.py" if alone else f"src/mammo/{package}")
    single = {p.stem for p in reached if len(p.parts) == 1} - EXEMPT
    return deps | {f"src/mammo/{name}.py" for name in single}


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


def params_loaded(path: Path) -> set[str]:
    """Name the keys of params.yaml that a file loads; what is filled in at run time is a `*`.

    By `load_params` and `load_leaf`, or by an index into what `read_params` gave, under any name.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    whole = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _is_call(node.value, {"read_params"})
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = set()
    for node in ast.walk(tree):
        if _is_call(node, {"load_params", "load_leaf"}):
            found.add(_text(node.args[0]))
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            named = isinstance(node.value, ast.Name) and node.value.id in whole
            if named or _is_call(node.value, {"read_params"}):
                found.add(str(node.slice.value))
    return found - {"*"}


def _is_call(node: ast.AST, names: set[str]) -> TypeGuard[ast.Call]:
    if not isinstance(node, ast.Call):
        return False
    return isinstance(node.func, ast.Name) and node.func.id in names


def _text(node: ast.expr) -> str:
    """A constant, or an f-string with a star for each hole; another expression is a star."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(v) if isinstance(v, ast.Constant) else "*" for v in node.values)
    return "*"
