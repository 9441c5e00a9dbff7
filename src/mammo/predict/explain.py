"""Where a network looks: a map over the image for the answer that it gave.

Where nothing but a linear head was fitted, its score is a sum over positions, and the map shows
the terms of that sum: exact. Grey features add to the score too, but describe the whole breast, so
their terms have no place in it. Where blocks were trained, or the head isn't linear in the pooled
features (a kernel), the map is Grad-CAM: a local approximation. Of several networks it is the mean
of theirs, all exact or all Grad-CAM.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.nn.functional import interpolate
from tqdm import tqdm

from mammo.embedding.grey import no_grey, open_grey
from mammo.evaluation.model import Model
from mammo.network.inputs import network_input
from mammo.predict.bundle import Bundle
from mammo.predict.whole import WholeNetwork
from mammo.storage.tensors import Tensors, unit_range

CPU = torch.device("cpu")

EXACT_ORDINAL = (
    "Exact: the score of the ordinal head is a sum over positions. Orange raises it (denser), blue "
    "lowers it, against the image's own mean."
)
EXACT_CLASS = (
    "Exact: the answer's score over that of the other classes is a sum over positions. Orange "
    "speaks for the answer, blue against it, relative to the image's own mean."
)
BESIDE_GREY = (
    " What grey and texture features of the whole breast add to the score has no place in the map."
)
UPRIGHT = " The map is of the image as shown; the answer averages in the image upside down."
MEAN = (
    "The mean of the members' maps ({names}), each scaled by its own largest value; the answer "
    "is that of the mean of their probabilities."
)
GRAD_CAM = (
    "Grad-CAM, an approximation: orange is where the last features raise the score of the answer."
)


@dataclass(frozen=True)
class Maps:
    """Maps of n images.

    Attributes:
        values: (n, h, w), positive where a position speaks for the answer.
        note: What they show, and how exactly.
    """

    values: np.ndarray
    note: str


def is_exact(model: Model) -> bool:
    """Say whether a network's score is a sum over positions of frozen features, and a rest."""
    head = model.facts["head"]
    return bool(
        model.network.cut == model.network.blocks
        and not head["kernel"]
        and head["kind"] in ("ordinal", "multinomial")
    )


def explain(
    bundle: Bundle, tensors: Path, keys: Sequence[str], answers: Sequence[str], batch_size: int = 16
) -> Maps:
    """Draw a map for each image and its answer; of several members the mean of their maps.

    Args:
        bundle: The model.
        tensors: The folder of the prepared images.
        keys: Which ones.
        answers: The class that each map is of.
        batch_size: Images at once.
    """
    number = {name: k for k, name in enumerate(bundle.classes)}
    classes = np.array([number[name] for name in answers], dtype=np.int64)
    # An exact map of an ordinal score and a Grad-CAM speak of different things: no mean has both.
    exact = all(is_exact(model) for model in bundle.members)
    kinds = {model.facts["head"]["kind"] for model in bundle.members}
    note = GRAD_CAM if not exact else EXACT_ORDINAL if kinds == {"ordinal"} else EXACT_CLASS
    if exact and any(model.facts["grey"] for model in bundle.members):
        note += BESIDE_GREY
    if bundle.evaluate.test_time_flip:
        note += UPRIGHT
    every = [
        _member_maps(model, tensors, keys, classes, exact, batch_size) for model in bundle.members
    ]
    if len(every) == 1:
        return Maps(every[0], note)
    names = ", ".join(str(model.facts["strategy"]) for model in bundle.members)
    return Maps(mean_maps(every), f"{MEAN.format(names=names)} Of each: {note}")


def _member_maps(
    model: Model,
    tensors: Path,
    keys: Sequence[str],
    classes: np.ndarray,
    exact: bool,
    batch_size: int,
) -> np.ndarray:
    """Draw the maps of one network: (n, h, w)."""
    images, whole = Tensors(tensors), WholeNetwork(model).to(CPU).float()
    grey = open_grey(tensors) if model.facts["grey"] else no_grey
    positions = images.positions(keys)
    found = []
    starts = range(0, len(keys), batch_size)
    for start in tqdm(starts, desc="explain", unit="batch", disable=None):
        part = slice(start, start + batch_size)
        batch = unit_range(images.gather(positions[part]))
        normalisation = model.network.prefix.normalisation
        pictures = network_input(batch, CPU, torch.float32, normalisation)
        if exact:
            found.append(exact_maps(whole, pictures, classes[part]))
        else:
            side = torch.from_numpy(grey(positions[part]))
            found.append(_grad_cam(whole, pictures, side, classes[part]))
    return np.concatenate(found) if found else np.zeros((0, 1, 1))


def mean_maps(every: Sequence[np.ndarray]) -> np.ndarray:
    """Average maps of the same images, each scaled by its largest value: each (n, h, w).

    Coarser maps are spread over the finest grid.
    """
    size = max((maps.shape[1:] for maps in every), key=lambda shape: shape[0] * shape[1])
    scaled = []
    for maps in every:
        largest = np.abs(maps).max(axis=(1, 2), keepdims=True, initial=1e-12)
        spread = interpolate(torch.from_numpy(maps / largest)[:, None], size=size, mode="nearest")
        scaled.append(spread[:, 0].numpy())
    mean: np.ndarray = np.mean(scaled, axis=0)
    return mean


def exact_maps(whole: WholeNetwork, pictures: Tensor, classes: np.ndarray) -> np.ndarray:
    """Show what each position adds to the score, less what all add alike: (B, h, w)."""
    terms = score_terms(whole, pictures, classes)
    return (terms - terms.mean(dim=(1, 2), keepdim=True)).numpy()


@torch.no_grad()
def score_terms(whole: WholeNetwork, pictures: Tensor, classes: np.ndarray) -> Tensor:
    """Take a linear score apart: (B, 3, H, W) -> (B, h, w), h and w of the finest map read.

    The terms of coarser maps are spread over the finest grid; those of an image sum to its score
    without the constant and the terms of grey features.
    """
    maps = whole.maps(pictures)
    rows = score_rows(whole.head, classes)  # (B, F)
    size = max((m.shape[2:] for m in maps), key=lambda shape: shape[0] * shape[1])
    cells = size[0] * size[1]
    total = torch.zeros(len(pictures), *size)
    start = whole.grey  # grey features come first
    for block in maps:
        width = block.shape[1]
        means = torch.einsum("bchw,bc->bhw", block.float(), rows[:, start : start + width])
        start += width
        spread = interpolate(means[:, None], size=size, mode="nearest")[:, 0] / cells
        # A grid that the finest one doesn't divide is spread unevenly: the rest goes to all.
        rest = means.mean(dim=(1, 2)) - spread.sum(dim=(1, 2))
        total += spread + rest[:, None, None] / cells
    return total


def score_rows(head: nn.Module, classes: np.ndarray) -> Tensor:
    """Find the weights of the score that each map takes apart: (B,) -> (B, F).

    An ordinal head has one score for all classes. Of a multinomial one it is the class's weights
    less their mean over classes: what softmax sees.
    """
    parts = dict(head.named_children())
    linear = parts["linear"]
    assert isinstance(linear, nn.Linear)
    weight = linear.weight.detach().float()
    if "order" in parts:
        return weight.expand(len(classes), -1)
    centred = weight - weight.mean(dim=0, keepdim=True)
    if "present" not in parts:
        return centred[torch.from_numpy(classes)]
    rows = {k: n for n, k in enumerate(parts["present"].present)}  # type: ignore[arg-type]
    return torch.stack([centred[rows[int(k)]] for k in classes])


def _grad_cam(
    whole: WholeNetwork, pictures: Tensor, grey: Tensor, classes: np.ndarray
) -> np.ndarray:
    """Run the library `grad-cam` on the blocks that the head reads: (B, h, w), at least 0."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    class OfPictures(nn.Module):
        """The library passes one input."""

        def __init__(self) -> None:
            super().__init__()
            self.whole = whole

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.whole(x, grey)
            return logits

    whole.requires_grad_(False)
    layers = [whole.blocks[name] for name in whole.reads]
    targets = [ClassifierOutputTarget(int(k)) for k in classes]
    with GradCAM(model=OfPictures(), target_layers=layers) as cam:
        values = cam(input_tensor=pictures.requires_grad_(True), targets=targets)
    return np.asarray(values, dtype=np.float32)


def overlay(tensor: np.ndarray, values: np.ndarray, title: str) -> np.ndarray:
    """Draw the prepared mammogram, and beside it the same with its map: (h, w, 3) uint8.

    Args:
        tensor: (size, size) uint8 or uint16.
        values: (h, w).
        title: Class and probability.
    """
    grey = (tensor >> 8).astype(np.uint8) if tensor.dtype == np.uint16 else tensor
    size = max(224, len(grey))
    plain = np.asarray(Image.fromarray(grey).resize((size, size), Image.Resampling.BILINEAR))
    small = Image.fromarray(np.asarray(values, dtype=np.float32), mode="F")
    smooth = np.asarray(small.resize((size, size), Image.Resampling.BILINEAR))
    strength = smooth / max(float(np.abs(smooth).max()), 1e-12)
    colour = np.where(strength[..., None] > 0, (255, 80, 0), (0, 130, 255))
    share = 0.7 * np.abs(strength)[..., None]
    mixed = plain[..., None] * (1 - share) + colour * share
    both = np.concatenate([np.repeat(plain[..., None], 3, axis=2), mixed], axis=1)
    picture = Image.new("RGB", (2 * size, size + 26), (20, 20, 20))
    picture.paste(Image.fromarray(np.rint(both).astype(np.uint8)), (0, 26))
    ImageDraw.Draw(picture).text((8, 5), title, (240, 240, 240), ImageFont.load_default(15))
    return np.asarray(picture)
