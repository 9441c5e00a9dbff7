"""The bundle as one ONNX file: stored images in, probabilities out. Needs the extra `onnx`."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mammo import paths
from mammo.embedding.grey import GREY_NAMES, no_grey, open_grey
from mammo.errors import UserError
from mammo.evaluation.decision import decide, prior_shares
from mammo.predict.bundle import Bundle
from mammo.predict.whole import PictureToAnswer, WholeNetwork
from mammo.storage.files import write_bytes
from mammo.storage.tensors import Tensors

LEAST_AGREEMENT = 0.995
OPSET = 18


def export_onnx(bundle: Bundle, path: Path) -> None:
    """Write one ONNX file: `images` (n, size, size) and `grey` (n, G) -> `probabilities` (n, K).

    All members, scaling, normalisation, softmax, prior and the mean are inside; images are as
    `mammo predict` prepares them. Arithmetic is float32. `metadata_props` say what the columns
    mean.

    Raises:
        UserError: The package isn't installed.
    """
    _require()
    network = whole_answer(bundle)
    size, dtype = bundle.preprocess.size_px, bundle.preprocess.dtype
    # ONNX's operators for images know no uint16 input everywhere: int32 holds both.
    images = torch.zeros(2, size, size, dtype=torch.uint8 if dtype == "uint8" else torch.int32)
    grey = torch.zeros(2, _grey_width(bundle))
    batch = torch.export.Dim("n", min=1)
    with _quiet():
        program = torch.onnx.export(
            network, (images, grey), dynamo=True, opset_version=OPSET, verbose=False,
            input_names=["images", "grey"], output_names=["probabilities"],
            dynamic_shapes={"images": {0: batch}, "grey": {0: batch}},
        )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    _forget_origin(proto)
    for key, value in about(bundle).items():
        proto.metadata_props.add(key=key, value=json.dumps(value))
    write_bytes(proto.SerializeToString(), path)  # one file, no data beside it


def _forget_origin(proto: Any) -> None:
    """Remove what the exporter notes of each step: a stack trace with the paths of this machine."""
    graph = proto.graph
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in (proto, graph, *graph.node, *values):
        part.ClearField("metadata_props")


def about(bundle: Bundle) -> dict[str, Any]:
    """Say what a reader of the file must know beside the shapes, as plain JSON values."""
    normalisation = bundle.members[0].network.prefix.normalisation
    facts = {name: bundle.facts[name] for name in ("classes", "decision", "temperature")}
    return {
        **facts,
        "patient_rule": bundle.facts["patient_rule"],
        "prior": bundle.evaluate.prior,
        "grey": GREY_NAMES[: _grey_width(bundle)],
        "normalisation": {  # inside already
            "scale": int(np.iinfo(bundle.preprocess.dtype).max),
            "mean": normalisation.mean,
            "std": normalisation.std,
        },
        "preprocess": bundle.preprocess.model_dump(mode="json"),
        "strategy": bundle.name,
        "bundle": bundle.id,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the exporter says of its own steps."""
    chatty = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir")]
    levels = [logger.level for logger in chatty]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in chatty:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(chatty, levels, strict=True):
                logger.setLevel(level)


def whole_answer(bundle: Bundle) -> PictureToAnswer:
    """Put the members, their prior and their normalisation into one module."""
    normalisation = bundle.members[0].network.prefix.normalisation
    scale = int(np.iinfo(bundle.preprocess.dtype).max)
    ratios = []
    for number in range(len(bundle.members)):
        answering = bundle.answering(number)
        ratio = np.ones(len(bundle.classes))
        if answering.prior != "as_trained":
            old = np.asarray(answering.trained, dtype=np.float64)
            new = prior_shares(answering.prior, answering.counts)
            ratio = np.divide(new, old, out=np.zeros(len(old)), where=old > 0)
        ratios.append(ratio.tolist())
    members = [WholeNetwork(model).float() for model in bundle.members]
    return PictureToAnswer(
        members, scale, normalisation.mean, normalisation.std, ratios,
        bundle.evaluate.test_time_flip,
    )  # fmt: skip


def _grey_width(bundle: Bundle) -> int:
    return max(int(model.facts["grey"]) for model in bundle.members)


def run_onnx(path: Path, bundle: Bundle, tensors: Path, keys: list[str]) -> np.ndarray:
    """Answer stored images with onnxruntime: (n, K)."""
    _require()
    import onnxruntime

    images = Tensors(tensors)
    read = open_grey(tensors) if _grey_width(bundle) else no_grey
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = {entry.name for entry in session.get_inputs()}  # an unused input isn't exported
    answers = []
    for part in np.array_split(images.positions(keys), max(1, -(-len(keys) // 32))):
        pixels = images.gather(part)
        pixels = pixels if pixels.dtype == np.uint8 else pixels.astype(np.int32)
        inputs = {"images": pixels, "grey": read(part)}
        answers += session.run(["probabilities"], {k: v for k, v in inputs.items() if k in wanted})
    return np.concatenate(answers)


def val_keys(bundle: Bundle, splits: pd.DataFrame, tensors: Path) -> list[str]:
    """List the val images to compare answers on.

    Raises:
        UserError: There are none, or the tensors aren't theirs or not those that the bundle reads.
    """
    unchecked = "or add --unchecked"
    keys = sorted(splits.loc[splits["split"] == "val", "key"])
    if not keys:
        raise UserError(
            f"{paths.SPLITS}: no image is in val to check the export on; add --unchecked"
        )
    images, side = Tensors(tensors), bundle.preprocess.size_px
    missing = set(keys) - set(images.keys)
    if missing:
        raise UserError(
            f"{tensors}: lacks {len(missing)} of {len(keys)} val images of {paths.SPLITS}; run "
            f"`dvc repro split`, {unchecked}"
        )
    if images.shape != (side, side) or images.dtype != bundle.preprocess.dtype:
        got = f"{' x '.join(map(str, images.shape))} {images.dtype}"
        raise UserError(
            f"{tensors}: images must be {side} x {side} {bundle.preprocess.dtype}, as the bundle "
            f"reads them, got {got}; check out the commit of the bundle, {unchecked}"
        )
    return keys


def agreement(bundle: Bundle, exported: np.ndarray, deployed: np.ndarray) -> dict[str, Any]:
    """Compare the exported network's answers with those of the deployed path.

    Raises:
        UserError: Fewer than `LEAST_AGREEMENT` are the same.
    """
    same = decide(exported, bundle.rule) == decide(deployed, bundle.rule)
    facts = {
        "images": len(same),
        "same_answers": float(same.mean()),
        "largest_difference": float(np.abs(exported - deployed).max()),
    }
    if facts["same_answers"] < LEAST_AGREEMENT:
        raise UserError(
            f"--onnx: at least {LEAST_AGREEMENT:.1%} of the answers must be the same, got "
            f"{facts['same_answers']:.1%} of {len(same)} (largest difference "
            f"{facts['largest_difference']:.3g}); with compute.precision: float32 both paths "
            "compute alike"
        )
    return facts


def _require() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--onnx: needs {error.name}, which isn't installed; run `pip install onnx onnxruntime "
            "onnxscript` (they are the project's extra `onnx`)"
        ) from None
