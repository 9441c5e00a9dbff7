"""Name the machine and the versions that a measurement belongs to."""

import platform
from importlib.metadata import version
from pathlib import Path


def machine(*packages: str) -> str:
    """Name the processor, Python and the packages asked for."""
    info = Path("/proc/cpuinfo")
    models = [
        line.split(":")[1].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    model = f"{models[0]}, {len(models)} cores" if models else platform.processor()
    versions = [f"{name} {version(name)}" for name in packages]
    return "; ".join([model, ", ".join([f"Python {platform.python_version()}", *versions])])
