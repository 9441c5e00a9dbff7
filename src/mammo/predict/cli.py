"""The command `mammo`: predict, explain, evaluate, inspect and export.

Each subcommand imports what it needs when it runs, so that `mammo --help` answers at once.
"""

import argparse
import logging
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mammo.errors import UserError
from mammo.paths import expanded
from mammo.stage import worded

_DONE = "look at %s"
_COVERAGE = "of the prediction sets, between 0.5 and 1; default: the bundle's"
_MAKE_KEY = "make one with `python -c 'import secrets; print(secrets.token_hex(32))' > predict.key`"
logger = logging.getLogger("mammo")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: a fault of user or disk is one line on stderr and exit code 1."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _open_closed_streams()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.captureWarnings(True)
    try:
        if given[:1] == ["inspect"]:
            from mammo.predict.inspect import main as inspect

            inspect(given[1:])
            return
        options = _parser().parse_args(given)
        options.run(options)
    except UserError as error:
        sys.exit(f"error: {error}")
    except BrokenPipeError:  # `mammo inspect FOLDER | head`: its reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left unwritten
        sys.exit(1)
    except OSError as error:  # a full disk, say, or a folder that can only be read
        sys.exit(f"error: {worded(error)}")
    except KeyboardInterrupt:
        sys.exit(130)


def _open_closed_streams() -> None:
    """Write to nowhere where a stream is closed: progress bars write unasked."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mammo", description="Breast density from mammograms.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    answer = "Answer new DICOM files with a bundle"
    for name, text, description in (
        ("predict", "answer new DICOM files with a bundle", f"{answer}."),
        ("explain", "the same, with maps of where the network looks",
         f"{answer}, and draw maps of where the network looks, in OUT/maps."),
    ):  # fmt: skip
        command = commands.add_parser(name, help=text, description=description)
        _add_input(command)
        if name == "predict":
            command.add_argument("--explain", action="store_true",
                                 help="pictures with maps, in OUT/maps")  # fmt: skip
        else:
            command.set_defaults(explain=True)
        command.add_argument("--dicom-sr", action="store_true",
                             help="a DICOM Structured Report a study, in OUT/dicom")  # fmt: skip
        command.add_argument("--dicom-sc", action="store_true",
                             help="pictures with maps as DICOM, in OUT/dicom")  # fmt: skip
        command.set_defaults(run=_predict)
    text = "judge a bundle on another data set"
    evaluate = commands.add_parser("evaluate", help=text, description=f"{text.capitalize()}.")
    evaluate.add_argument("bundle", type=expanded, help="folder of the bundle")
    evaluate.add_argument(
        "--dataset", type=expanded, required=True, metavar="YAML",
        help="a params.yaml with the section `dataset` of that data set",
    )  # fmt: skip
    evaluate.add_argument("--out", type=expanded, required=True, help="folder for the results")
    evaluate.add_argument("--coverage", type=_coverage, default=None, help=_COVERAGE)
    evaluate.set_defaults(run=_evaluate)
    text = "write a bundle in another format"
    export = commands.add_parser("export", help=text, description=f"{text.capitalize()}.")
    export.add_argument("bundle", type=expanded, help="folder of the bundle")
    export.add_argument("--onnx", action="store_true", required=True,
                        help="one ONNX file, normalisation and softmax inside")  # fmt: skip
    export.add_argument("--out", type=expanded, default=Path("model.onnx"),
                        help="the file; default: model.onnx")  # fmt: skip
    export.add_argument("--unchecked", action="store_true",
                        help="where there are no val images to compare answers on")  # fmt: skip
    export.set_defaults(run=_export)
    commands.add_parser("inspect", help="what ingestion would do with a file, and why")
    return parser


def _add_input(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "place",
        type=expanded,
        help="a file, a folder of any depth, or a CSV with a column image_path",
    )
    command.add_argument("--out", type=expanded, required=True, help="folder for the results")
    command.add_argument("--bundle", type=expanded, default=Path("bundle"), help="default: bundle")
    command.add_argument("--root", type=expanded, default=None,
                         help="folder of a table's paths; default: the table's own")  # fmt: skip
    command.add_argument("--coverage", type=_coverage, default=None, help=_COVERAGE)
    command.add_argument("--identifiers", choices=("keep", "hash"), default="keep",
                         help="paths, patients and studies as they are, or hashed")  # fmt: skip
    command.add_argument("--key-file", type=expanded, default=None,
                         help="with hash: a file of 32 or more secret bytes")  # fmt: skip


def _coverage(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.5 < value < 1:
        raise argparse.ArgumentTypeError(f"must lie between 0.5 and 1, got {text}")
    return value


def _predict(options: argparse.Namespace) -> None:
    from mammo.network.devices import start
    from mammo.predict import extras
    from mammo.predict.bundle import read_bundle
    from mammo.predict.dicom_objects import check_classes, require_highdicom
    from mammo.predict.intake import find_sources
    from mammo.predict.out_folder import one_run, results
    from mammo.predict.predict import predicted, write_answers
    from mammo.predict.tables import Request

    bundle = read_bundle(options.bundle)
    if options.dicom_sr or options.dicom_sc:
        if options.identifiers == "hash":
            raise UserError(
                "--identifiers: must be keep with --dicom-sr and --dicom-sc, got hash; DICOM "
                "objects belong to a patient and a study"
            )
        require_highdicom("--dicom-sr" if options.dicom_sr else "--dicom-sc")
    if options.dicom_sr:
        check_classes(bundle.classes)
    coverage = options.coverage or bundle.facts["conformal"]["coverage"]
    request = Request(coverage, options.identifiers, _secret(options))
    sources = find_sources(options.place, options.root, options.out)
    devices = start(bundle.compute)
    with (
        one_run(options.out),
        predicted(bundle, sources, options.out, request.secret, devices) as run,
        results(options.out) as folder,
    ):
        images = write_answers(run, request, folder)
        if (options.explain or options.dicom_sc) and len(images):
            maps, pictures, titles = extras.draw_maps(run)
            if options.explain:
                extras.write_maps(run, images, maps, pictures, folder)
            if options.dicom_sc:
                extras.write_captures(run, sources, pictures, titles, folder)
        if options.dicom_sr and len(images):
            extras.write_reports(run, request, sources, folder)
    _say_what_came(options, len(images), len(run.intake.quarantine))


def _say_what_came(options: argparse.Namespace, answered: int, quarantined: int) -> None:
    refused = options.out / "quarantine.csv"
    logger.info("%d images answered, %d files quarantined (%s)", answered, quarantined, refused)
    if not answered:
        raise UserError(
            f"{refused}: no image could be answered; `mammo inspect FILE --bundle "
            f"{options.bundle}` says why"
        )
    logger.info(_DONE, options.out / "predictions.csv")


def _secret(options: argparse.Namespace) -> bytes:
    """Read the secret, or make one that only this run's work folder uses."""
    from mammo.ingest.keys import MIN_KEY_BYTES, PUBLIC, read_dataset_key

    file: Path | None = options.key_file
    if options.identifiers == "keep":
        if file is not None:
            raise UserError(
                f"--key-file {file}: needs --identifiers hash; without it nothing is hashed"
            )
        return read_dataset_key(PUBLIC, options.place)
    if file is None:
        raise UserError(
            f"--identifiers hash: needs --key-file, a file of {MIN_KEY_BYTES} or more secret "
            "bytes: without a secret anybody could test whether a known patient is among the "
            f"results; {_MAKE_KEY}"
        )
    if not file.is_file():
        raise UserError(f"--key-file {file}: no such file; {_MAKE_KEY}")
    secret = file.read_bytes().strip()
    if len(secret) < MIN_KEY_BYTES:
        raise UserError(
            f"--key-file {file}: must hold {MIN_KEY_BYTES} or more bytes, got {len(secret)}; "
            f"{_MAKE_KEY}"
        )
    return secret


def _evaluate(options: argparse.Namespace) -> None:
    from mammo.comparison.params import CompareParams
    from mammo.datasets.params import DatasetParams
    from mammo.network.devices import start
    from mammo.params import parse_params, read_params
    from mammo.predict.bundle import read_bundle
    from mammo.predict.evaluate import Bootstrap, evaluate_elsewhere, external_page
    from mammo.predict.out_folder import WORK, one_run, results
    from mammo.storage.cells import neutralised
    from mammo.storage.files import write_json, write_table, write_text

    bundle = read_bundle(options.bundle)
    if not options.dataset.is_file():
        raise UserError(f"{options.dataset}: no such file (--dataset)")
    values = read_params(options.dataset)
    if "dataset" not in values:
        raise UserError(f"{options.dataset}: dataset: missing; it says where the data set is")
    dataset = parse_params("dataset", values["dataset"], DatasetParams, options.dataset)
    own = bundle.facts["params"]["compare"]
    compare = parse_params("compare", values.get("compare", own), CompareParams, options.dataset)
    bootstrap = Bootstrap(compare.draws, compare.seed, compare.confidence, compare.calibration_bins)
    coverage = options.coverage or bundle.facts["conformal"]["coverage"]
    with one_run(options.out), results(options.out) as folder:
        found = evaluate_elsewhere(
            bundle, dataset, options.out / WORK, bootstrap, coverage, start(bundle.compute)
        )
        write_table(neutralised(found.predictions), folder / "predictions.csv")
        write_table(neutralised(found.quarantine), folder / "quarantine.csv")
        write_json(found.metrics, folder / "metrics.json")
        write_text(external_page(bundle, dataset.name, found.metrics), folder / "report.md")
    logger.info("%d images judged, %d files quarantined (%s)", len(found.predictions),
                len(found.quarantine), options.out / "quarantine.csv")  # fmt: skip
    logger.info(_DONE, options.out / "report.md")


def _export(options: argparse.Namespace) -> None:
    from mammo import paths
    from mammo.network.devices import start
    from mammo.predict.answers import answer
    from mammo.predict.bundle import read_bundle
    from mammo.predict.export import agreement, export_onnx, run_onnx, val_keys
    from mammo.storage.files import read_table

    bundle = read_bundle(options.bundle)
    if not options.unchecked and not (paths.SPLITS.exists() and paths.TENSOR_INDEX.exists()):
        raise UserError(
            f"{paths.SPLITS}: not found: the export is checked on the val images of this "
            "project; run `dvc pull data/tensors data/splits.csv`, or add --unchecked"
        )
    if options.unchecked:
        export_onnx(bundle, options.out)
        logger.info("%s: written, not checked", options.out)
        return
    keys = val_keys(bundle, read_table(paths.SPLITS), paths.TENSORS)
    deployed = answer(bundle, paths.TENSORS, keys, start(bundle.compute)).probabilities
    unproven = options.out.with_name(f".{options.out.name}.unproven")
    try:
        export_onnx(bundle, unproven)
        facts = agreement(bundle, run_onnx(unproven, bundle, paths.TENSORS, keys), deployed)
        unproven.replace(options.out)
    finally:
        unproven.unlink(missing_ok=True)
    logger.info(
        "%s: %.1f %% of %d val images have the same answer; largest difference of a probability "
        "%.2g", options.out, 100 * facts["same_answers"], facts["images"],
        facts["largest_difference"],
    )  # fmt: skip
