"""Train and judge twice in one go, with two kinds of arithmetic; write benchmarks/stability.md.

Once as the machine is, once as a processor with AVX2 and no more computes, in float32. Weights,
embeddings, trainings and answers are made anew both times, by the pipeline's own stages, from the
tensors and splits that `dvc repro` left. A third time with another `train.seed`.

    make stability                                                    (all strategies)
    PYTHONPATH=src:. python benchmarks/stability.py --strategies probe head_only
"""

import argparse
import copy
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from machine import machine
from mammo import paths
from mammo.check.fingerprints import note_parameters
from mammo.errors import UserError
from mammo.network.compute import compute_dtype
from mammo.network.params import ComputeParams
from mammo.params import load_params, read_params
from mammo.storage.files import read_json, read_table, write_json, write_text
from studies.cells.workspace import run_stages

RESULTS = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).with_suffix(".md")
ROOT = Path(__file__).resolve().parents[1]
ARITHMETIC = Path("arithmetic.json")
MADE_ANEW = ("weights", "embeddings", "answers", "parameters")  # of data/; the rest is shared

# A processor with AVX2 and nothing more.
OLD_ENVIRONMENT = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
OLD_COMPUTE = {"accelerator": "cpu", "precision": "float32"}

SAME_ANSWERS = 0.95  # targets: of a solved strategy
KAPPA = 0.03  # of a solved strategy, and of the reported one


@dataclass(frozen=True)
class Difference:
    """How two runs of one strategy differ on test.

    Attributes:
        same: Share of the images that get the same class.
        kappa: |difference| of kappa.
        kappa_quadratic: |difference| of quadratic kappa.
    """

    same: float
    kappa: float
    kappa_quadratic: float


def is_solved(strategy: dict[str, Any]) -> bool:
    """Say whether nothing but a solved head is trained."""
    frozen = not strategy["train_backbone"] and not strategy["unfreeze_last_blocks"]
    return frozen and strategy.get("head") == "solved"


def arithmetic(compute: ComputeParams) -> dict[str, str]:
    """Name what decides the last bits here: vector instructions, and the dtype."""
    best = "AVX512" if torch.cpu._is_avx512_supported() else "AVX2 or less"
    onednn = os.environ.get("ONEDNN_MAX_CPU_ISA", best)
    gpu = compute.accelerator != "cpu" and torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if gpu else "CPU",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "convolutions": "AVX2 or less" if onednn.upper() == "AVX2" else onednn,
        "dtype": str(compute_dtype(compute)).removeprefix("torch."),
    }


def worded(facts: dict[str, str]) -> str:
    """Word an arithmetic: `bfloat16, AVX512`."""
    names = [facts["device"]] if facts["device"] != "CPU" else []
    names += dict.fromkeys([facts["instructions"], facts["convolutions"]])
    return f"{facts['dtype']} ({', '.join(names)})"


def prepare(folder: Path, root: Path, values: dict[str, Any], made: Path | None = None) -> None:
    """Make a folder for the stages: its params.yaml, and links to what it shares.

    Args:
        folder: New.
        root: Where `dvc repro` has run.
        values: All of params.yaml.
        made: A folder whose weights and embeddings are linked to as well.

    Raises:
        UserError: There are no tensors or splits.
    """
    for needed in (paths.TENSOR_INDEX, paths.SPLITS):
        if not (root / needed).exists():
            raise UserError(f"{root / needed}: must exist; run `make repro` first")
    (folder / paths.DATA).mkdir(parents=True)
    write_text(yaml.safe_dump(values, sort_keys=False), folder / paths.PARAMS)
    for entry in (root / paths.DATA).resolve().iterdir():
        if entry.name not in MADE_ANEW:
            (folder / paths.DATA / entry.name).symlink_to(entry.resolve())
    note_parameters(values, folder / paths.PARAMETERS)
    for name in ("weights", "embeddings") if made else ():
        (folder / paths.DATA / name).symlink_to((made / paths.DATA / name).resolve())


def run(folder: Path, stages: Sequence[str], environment: dict[str, str]) -> None:
    """Run stages in a process of its own: instruction sets are chosen once, when it starts.

    Raises:
        UserError: A stage failed; its message is on stderr.
    """
    search = os.pathsep.join(str(ROOT / name) for name in ("src", "benchmarks", "."))
    done = subprocess.run(
        [sys.executable, Path(__file__), "--run", folder, *stages],
        env={**os.environ, **environment, "PYTHONPATH": search},
    )
    if done.returncode:
        raise UserError(f"{' '.join(stages)}: a stage failed, see above")


def run_here(folder: Path, stages: Sequence[str]) -> None:
    """Run stages in this process; leave a note of the arithmetic beside what they wrote."""
    run_stages(folder, stages)
    compute = load_params("compute", ComputeParams, folder / paths.PARAMS)
    write_json(arithmetic(compute), folder / ARITHMETIC)


def compare_runs(one: Path, other: Path, strategy: str) -> Difference:
    """Compare the answers to the test images, and the kappas that stage `evaluate` computed."""
    folder = paths.EVALUATION_PLOTS / strategy
    tables = [read_table(run / folder / "predictions.csv") for run in (one, other)]
    tests = [table[table["split"] == "test"].set_index("key")["prediction"] for table in tables]
    metrics = [read_json(run / folder / "metrics.json") for run in (one, other)]

    def apart(metric: str) -> float:
        return round(abs(metrics[0][metric] - metrics[1][metric]), 4)

    same = float((tests[0] == tests[1].reindex(tests[0].index)).mean())
    return Difference(round(same, 4), apart("kappa"), apart("kappa_quadratic"))


def stages_of(strategies: Sequence[str], *names: str) -> list[str]:
    """Name the stages of each strategy, one strategy after the other."""
    return [f"{name} {strategy}" for strategy in strategies for name in names]


def measure(root: Path, values: dict[str, Any], strategies: Sequence[str]) -> dict[str, Any]:
    """Run everything; say for each strategy how far the runs are apart.

    Args:
        root: Where `dvc repro` has run.
        values: All of params.yaml.
        strategies: Those to run.
    """
    old = copy.deepcopy(values)
    old["compute"] |= OLD_COMPUTE
    reseeded = copy.deepcopy(values)
    reseeded["train"]["seed"] += 1
    everything = ["weights", *stages_of(strategies, "embed", "train", "evaluate")]
    with tempfile.TemporaryDirectory(prefix="stability-") as name:
        here, there, seed = (Path(name) / run for run in ("here", "there", "seed"))
        prepare(here, root, values)
        run(here, everything, {})
        prepare(seed, root, reseeded, made=here)
        run(seed, stages_of(strategies, "train", "evaluate"), {})
        prepare(there, root, old)
        run(there, everything, OLD_ENVIRONMENT)
        both = [read_json(folder / ARITHMETIC) for folder in (here, there)]
        return {
            "machine": machine("torch"),
            "arithmetic": both,
            "test_images": int((read_table(root / paths.SPLITS)["split"] == "test").sum()),
            "strategies": {
                strategy: {
                    "solved": is_solved(values["strategies"][strategy]),
                    "reported": strategy == values["strategy"],
                    "kappa": read_json(here / paths.EVALUATION_PLOTS / strategy / "metrics.json")[
                        "kappa"
                    ],
                    "elsewhere": asdict(compare_runs(here, there, strategy)),
                    "train_seed": asdict(compare_runs(here, seed, strategy)),
                }
                for strategy in strategies
            },
        }


def meets(facts: dict[str, Any]) -> bool | None:
    """Say whether a strategy holds on the other arithmetic; None where no target is set."""
    if not facts["solved"] and not facts["reported"]:
        return None
    steady = facts["elsewhere"]["kappa"] <= KAPPA
    return bool(steady and (not facts["solved"] or facts["elsewhere"]["same"] >= SAME_ANSWERS))


def page(found: dict[str, Any]) -> str:
    """Set what was found in a page."""
    here, there = found["arithmetic"]
    same = here == there
    lines = ["# How far results move: another processor, another seed", "", f"{found['machine']}."]
    if same:
        lines += [
            "",
            f"This machine computes as the oldest one would: {worded(here)} both times. So nothing "
            "is learnt here about another processor, and no tolerance is given.",
        ]
    else:
        lines += [
            "",
            f"Here: {worded(here)}. Elsewhere: {worded(there)}, in the same go. "
            f"{found['test_images']} test images. Targets: a solved strategy gives at least "
            f"{SAME_ANSWERS:.0%} the same answers; its kappa, and the reported strategy's, moves "
            f"by at most {KAPPA}.",
        ]
    lines += ["", "`train.seed` + 1: the same weights and embeddings, here.", ""]
    other = [] if same else ["elsewhere: same answers", "Δ kappa", "Δ quadratic", "target"]
    header = ["strategy", "kappa here", *other, "`train.seed` + 1: same answers", "Δ kappa"]
    lines += [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for name, facts in found["strategies"].items():
        elsewhere, seed = facts["elsewhere"], facts["train_seed"]
        verdict = {True: "met", False: "missed", None: "none"}[meets(facts)]
        kind = "solved" if facts["solved"] else "trained"
        label = f"`{name}` ({kind}{', reported' if facts['reported'] else ''})"
        cells = [label, f"{facts['kappa']:.3f}"]
        if not same:
            cells += [f"{elsewhere['same']:.1%}", f"{elsewhere['kappa']:.3f}"]
            cells += [f"{elsewhere['kappa_quadratic']:.3f}", verdict]
        cells += [f"{seed['same']:.1%}", f"{seed['kappa']:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the page; or, as a process of its own, run stages in a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strategies", nargs="+", help="instead of all; writes no page")
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        folder, *stages = arguments.run
        run_here(Path(folder), stages)
        return
    values = read_params()
    found = measure(Path(), values, arguments.strategies or list(values["strategies"]))
    print(page(found))
    if not arguments.strategies:
        write_json(found, RESULTS)
        write_text(page(found), PAGE)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
