"""Where a backbone's parameters come from: a package, ImageNet, a file, or chance.

Keys are those of `Architecture.build`, torchvision's own for its networks; the classifier, which
every strategy replaces, is left out.
"""

import hashlib
import logging
import urllib.error
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError  # the error alone: nothing is unpickled
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from mammo.errors import UserError
from mammo.network.architecture import Architecture
from mammo.network.backbones import architecture_of
from mammo.network.foreign_names import changes, match_names
from mammo.network.packaged import PACKAGES, package_facts
from mammo.network.params import BackboneParams
from mammo.storage.digests import file_sha256
from mammo.storage.files import write_bytes
from mammo.storage.manifest import check_file

logger = logging.getLogger(__name__)

State = dict[str, Tensor]


def random_network(params: BackboneParams) -> nn.Module:
    """Make the network with the parameters that `seed` gives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        return architecture_of(params).build()


def body(state: State, architecture: Architecture) -> State:
    """Leave the classifier out of a state dict."""
    return {k: v for k, v in state.items() if not k.startswith(architecture.classifier)}


def read_weights_file(path: Path) -> State:
    """Read a state dict from .safetensors, or from .pth without running anything in it.

    Raises:
        UserError: The file is missing, of another kind or unreadable.
    """
    if not path.is_file():
        raise UserError(f"{path}: backbone.file must be an existing file")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        if path.suffix in (".pth", ".pt"):
            state = torch.load(path, map_location="cpu", weights_only=True)
        else:
            raise UserError(f"{path}: backbone.file must end in .safetensors, .pth or .pt")
    except (safetensors.SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"{path}: not a readable weights file: {error}") from None
    except UnpicklingError:
        raise UserError(
            f"{path}: holds more than tensors, and is refused (torch.load with weights_only=True)"
        ) from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]  # as trainers save it, beside an epoch and an optimizer
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise UserError(f"{path}: must hold a state dict (names and tensors)")
    return state


def adopt(architecture: Architecture, state: State, source: str) -> State:
    """Fit somebody else's state dict to an architecture: its names may have prefixes or numbers.

    What is mapped and what is dropped goes to the log.

    Raises:
        UserError: A tensor of the backbone is missing, of another shape or not finite; says which.
    """
    network = architecture.without_values()
    children = [name for name, _ in network.named_children()]
    expected = body(network.state_dict(), architecture)
    meant, dropped = match_names(state, expected, children, source)
    renamed = {theirs: ours for theirs, ours in meant.items() if theirs != ours}
    if renamed:
        said = ", ".join(f"{theirs} to {ours}" for theirs, ours in changes(renamed).items())
        logger.info("%s: %d names mapped: %s", source, len(renamed), said)
    if dropped:
        logger.info("%s: no part of the backbone, dropped: %s", source, ", ".join(dropped))
    return fit_to(architecture, {ours: state[theirs] for theirs, ours in meant.items()}, source)


def fit_to(architecture: Architecture, state: State, source: str) -> State:
    """Check a state dict against an architecture and leave its classifier out.

    A counter `num_batches_tracked`, which old files lack, is set to 0; nothing else is filled in.

    Raises:
        UserError: A tensor is missing, unexpected, of another shape or not finite; says which.
    """
    expected = body(architecture.without_values().state_dict(), architecture)
    given = body(state, architecture)
    for key, value in expected.items():
        if key.endswith("num_batches_tracked"):
            given.setdefault(key, torch.zeros(value.shape, dtype=value.dtype))
    faults = [f"{key} is missing" for key in expected if key not in given]
    faults += [f"{key} is unknown" for key in given if key not in expected]
    faults += [
        f"{key} has shape {tuple(given[key].shape)}, needs {tuple(value.shape)}"
        for key, value in expected.items()
        if key in given and given[key].shape != value.shape
    ]
    faults += [
        f"{key} has values that aren't finite"
        for key in expected
        if key in given and not given[key].isfinite().all()
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise UserError(f"{source}: doesn't fit backbone.arch: {'; '.join(faults[:3])}{more}")
    return {key: given[key].to(expected[key].dtype).contiguous() for key in expected}


def imagenet_file(architecture: Architecture) -> Path:
    """Find torchvision's ImageNet file in torch's hub folder, downloading it if it isn't there.

    This is the one place that uses the network, and only for `backbone.weights: imagenet`. The
    file's SHA-256 must begin as its name says, on every run.

    Raises:
        UserError: There is no network, or the file is not the one that its name promises.
    """
    url = _imagenet_url(architecture)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    promised = path.stem.rpartition("-")[2]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=promised)
        except (urllib.error.URLError, OSError, RuntimeError) as error:
            raise UserError(
                f"backbone.weights: imagenet needs {path.name}, and the download failed ({error}); "
                f"fetch {url} on a machine with a network and put it at {path}, "
                "or choose backbone.weights: packaged, file or random"
            ) from None
    if not file_sha256(path).startswith(promised):
        raise UserError(
            f"{path}: SHA-256 must begin with {promised}; the file is damaged: delete it and retry"
        )
    return path


def _imagenet_url(architecture: Architecture) -> str:
    assert architecture.imagenet is not None  # BackboneParams refuses imagenet where there is none
    return str(architecture.imagenet.url)


def save_backbone(state: State, path: Path) -> str:
    """Write a state dict as safetensors, without metadata; return the file's SHA-256."""
    content = safetensors.torch.save({key: state[key].contiguous() for key in sorted(state)})
    write_bytes(content, path)
    return hashlib.sha256(content).hexdigest()


def load_backbone(path: Path, architecture: Architecture) -> nn.Module:
    """Build the network with the stored parameters; its classifier stays without values.

    Raises:
        UserError: The file isn't as the manifest beside it says, or doesn't fit.
    """
    check_file(path)
    network = architecture.without_values()
    state = fit_to(architecture, read_weights_file(path), str(path))
    # Strict but for the classifier: fit_to checked.
    network.load_state_dict(state, strict=False, assign=True)
    return network


def provenance(params: BackboneParams, sha256: str) -> dict[str, Any]:
    """Say where the stored parameters come from; `sha256` is that of the stored file."""
    facts: dict[str, Any] = {"arch": params.arch, "weights": params.weights, "sha256": sha256}
    architecture = architecture_of(params)
    facts |= {"normalisation": asdict(architecture.normalisation)}
    if params.weights == "packaged":
        facts |= package_facts(PACKAGES[params.arch])
    elif params.weights == "imagenet":
        facts |= {"source": str(architecture.imagenet), "url": _imagenet_url(architecture)}
    elif params.file is not None:
        facts |= {"source": params.file.name, "source_sha256": file_sha256(params.file)}
    else:
        facts |= {"seed": params.seed}
    return facts
