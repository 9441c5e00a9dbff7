"""Small bundles of networks whose heads nobody trained, and mammograms for them to answer."""

import functools
from pathlib import Path

import numpy as np
import torch

from mammo.embedding.grey import GREY_NAMES
from mammo.evaluation.model import Model
from mammo.network.backbones import architecture_of
from mammo.network.devices import start
from mammo.network.network import Design, build_network, head_shape
from mammo.network.packaged import packaged_state
from mammo.network.params import BackboneParams, ComputeParams
from mammo.network.weights import body, save_backbone
from mammo.params import read_params
from mammo.predict.bundle import (
    FAMILIARITY,
    Bundle,
    read_bundle,
    save_familiarity,
    save_network,
    write_model,
)
from mammo.predict.familiarity import fit_features
from mammo.storage.tensors import OUTLINES, packed, write_shards
from support.dicom_files import breast_pixels, dicom_bytes
from support.pipeline_copy import ROOT

CLASSES = ["A", "B", "C", "D"]
SIZE = 64
BACKBONE = BackboneParams(arch="efficientnet_lite0", weights="random", file=None, seed=0)
COMPUTE = ComputeParams(
    accelerator="cpu", devices=1, num_nodes=1, threads=1, precision="float32", compile=False,
    deterministic=True,
)  # fmt: skip


@functools.cache
def imagenet_body():
    """ImageNet's parameters: through random ones all pictures look alike after some blocks."""
    return body(packaged_state(BACKBONE.arch), architecture_of(BACKBONE))


def devices():
    return start(COMPUTE)


def make_model(
    folder: Path,
    kind: str = "ordinal",
    at: int = 9,
    kernel: int = 0,
    grey: int = 0,
    name: str = "probe",
    seed: int = 1,
) -> Model:
    """Make a network with a random head, cut before block `at` of 9."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "backbone.safetensors"
    save_backbone(imagenet_body(), weights)
    reads = ("features3", "features5", "features7") if at == 9 else ("features8",)
    shape = head_shape(BACKBONE, reads, grey, kind, len(CLASSES), kernel)
    network = build_network(weights, BACKBONE, Design(at, reads, grey, shape, seed=seed))
    with torch.no_grad():  # answers that differ from image to image
        network.suffix.head.linear.weight.mul_(2)
        if kernel:
            network.suffix.head.kernel.weight.normal_()
    network.suffix.eval()
    facts = {
        "strategy": name, "arch": BACKBONE.arch, "cut": at, "reads": list(reads), "grey": grey,
        "head": shape.as_values(), "classes": CLASSES, "counts": [4, 8, 16, 4],
        "fitted_on": ["train"], "prior": [0.2, 0.3, 0.3, 0.2],
        "backbone_sha256": network.backbone_sha256,
    }  # fmt: skip
    return Model(network, facts)


def sections() -> dict:
    """The sections that a bundle holds, small."""
    values = read_params(ROOT / "params.yaml")
    values["preprocess"] |= {"size_px": SIZE, "workers": 1}
    values["evaluate"] |= {"batch_size": 4, "prior": "uniform"}
    values["compute"] = COMPUTE.model_dump(mode="json")
    values["compare"] |= {"draws": 100}
    names = ("preprocess", "dicom", "ingest", "evaluate", "compute", "compare")
    return {name: values[name] for name in names}


def write_bundle(folder: Path, *models: Model, **facts) -> Bundle:
    """Write a bundle of some models and open it; `facts` replace entries of model.json."""
    models = models or (make_model(folder.with_name(f"{folder.name}-weights")),)
    folder.mkdir(parents=True, exist_ok=True)
    width = models[0].facts["head"]["features"]
    random = np.random.default_rng(0)
    features = fit_features(random.normal(size=(40, width)), random.normal(size=(20, width)))
    members = [{**m.facts, "file": f"{m.facts['strategy']}.safetensors"} for m in models]
    files = {
        member["file"]: save_network(model.network, folder / member["file"])
        for member, model in zip(members, models, strict=True)
    }
    files[FAMILIARITY] = save_familiarity(features, folder / FAMILIARITY)
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6}
    values = {
        "strategy": "probe", "classes": CLASSES, "class_set": "a_b_c_d", "decision": "argmax",
        "patient_rule": "denser", "temperature": 1.5,
        "members": members, "files": files,
        "params": sections(),
        "origin": {"makers": ["Maker"], "grey_scales": ["window"], "rows": [96, 96],
                   "columns": [64, 64]},
        "familiarity": {"threshold": features.threshold, "rest": features.rest},
        "conformal": {"coverage": 0.9, "scores_from": "made up",
                      "scores": {c: [[n / 40] for n in range(20)] for c in CLASSES}},
        "figures": {"image": {"accuracy": estimate}, "patient": {"accuracy": estimate}},
        **facts,
    }  # fmt: skip
    write_model(values, folder)
    return read_bundle(folder)


def write_ensemble(folder: Path) -> Bundle:
    """Write a bundle of two networks, of which one reads grey features and one trained blocks."""
    weights = folder.with_name(f"{folder.name}-weights")
    one = make_model(weights, grey=len(GREY_NAMES))
    other = make_model(weights, at=7, name="last_two", seed=2)
    return write_bundle(folder, one, other, strategy="ensemble")


def write_images(folder: Path, n: int = 6) -> list[str]:
    """Write prepared images with their breasts' outlines, as stage `preprocess` does; keys."""
    keys = [f"k{number}" for number in range(n)]
    random = np.random.default_rng(0)
    images = [random.integers(0, 40 * n + 20, (SIZE, SIZE), dtype=np.uint8) for n in range(n)]
    outline = np.tri(SIZE, dtype=bool)[::-1]  # a breast at the left border
    for at, arrays in ((folder, images), (folder / OUTLINES, [packed(outline)] * n)):
        at.mkdir(parents=True)
        write_shards(iter(arrays), keys, at, 10**6)
    return keys


def write_mammograms(folder: Path, patients: int = 2) -> list[Path]:
    """Write two views of both breasts of some patients, a study each."""
    files = []
    for number in range(patients):
        for place, (side, view) in enumerate((s, v) for s in "LR" for v in ("CC", "MLO")):
            pixels = breast_pixels(seed=10 * number + place)
            pixels = pixels[:, ::-1].copy() if side == "R" else pixels
            path = folder / f"patient {number}" / f"{side}{view}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            tags = {
                "PatientID": f"SECRET{number}", "StudyInstanceUID": f"1.2.77.{number}",
                "SOPInstanceUID": f"1.2.88.{number}.{place}", "ImageLaterality": side,
                "ViewPosition": view, "Manufacturer": "Maker",
            }  # fmt: skip
            path.write_bytes(dicom_bytes(pixels, **tags))
            files.append(path)
    return files
