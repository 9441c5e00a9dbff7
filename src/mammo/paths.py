"""Every path of the pipeline, once; relative to the repository's root."""

import os
from pathlib import Path

PARAMS = Path("params.yaml")

DATA = Path("data")
CHECK = DATA / "check.txt"
OUTSIDE = DATA / "outside.json"
PARAMETERS = DATA / "parameters"
PHANTOM = DATA / "phantom"
PHANTOM_TRUTH = DATA / "phantom_truth.csv"
FILES = DATA / "files.csv"
IMAGES = DATA / "images.csv"
LABELS = DATA / "labels.csv"
GROUPS = DATA / "groups.csv"
QUARANTINE = DATA / "quarantine.csv"
QUARANTINE_PIXELS = DATA / "quarantine_pixels.csv"
TENSORS = DATA / "tensors"
TENSOR_INDEX = TENSORS / "index.csv"
SPLITS = DATA / "splits.csv"
SHEET = DATA / "sheet"
REVIEW = DATA / "review"
WEIGHTS = DATA / "weights"
BACKBONE = WEIGHTS / "backbone.safetensors"
PROVENANCE = WEIGHTS / "provenance.json"
EMBEDDINGS = DATA / "embeddings"
PLAN = "plan.json"  # in a strategy's folder of embeddings, as are the next three
POOLED = "pooled"  # pooled features of all blocks: (views, F) float32 an image
CUT = "cut"  # activations at the cut: (views, C, h, w) float16 an image
GREY = "grey"  # grey features, where the head reads them: (G,) float32 an image
ANSWERS = DATA / "answers"

MODELS = Path("models")
BEST_MODEL = "best_model.safetensors"  # what is deployed, and answers test
LAST_MODEL = "last_model.safetensors"
TRAIN_ONLY_MODEL = "train_only_model.safetensors"  # answers val, where the best was fitted on it
MEMBERS = "members.json"  # in models/ensemble and data/embeddings/ensemble
BUNDLE = Path("bundle")
METRICS = Path("metrics")
PHANTOM_METRICS = METRICS / "phantom.json"
INGEST_METRICS = METRICS / "ingest.json"
PREPROCESS_METRICS = METRICS / "preprocess.json"
SPLIT_METRICS = METRICS / "split.json"
TRAIN_METRICS = METRICS / "train"
EVALUATE_METRICS = METRICS / "evaluate"
COMPARE_METRICS = METRICS / "compare.json"
REPORT_METRICS = METRICS / "report.json"
PLOTS = Path("plots")
TRAINING_PLOTS = PLOTS / "training"
EVALUATION_PLOTS = PLOTS / "evaluation"
PLOT_PLOTS = PLOTS / "plot"
COMPARE_PLOTS = PLOTS / "compare"
REPORT_PLOTS = PLOTS / "report"
COMPARE_PAGE = Path("report.md")

# DVC names the main checkout in DVC_ROOT, also for runs in a temporary copy: one scratch for all.
MAIN_CHECKOUT = Path(os.environ.get("DVC_ROOT", "."))
SCRATCH = MAIN_CHECKOUT / ".cache"
LOGS = MAIN_CHECKOUT / "logs"


def is_phantom(root: str | Path) -> bool:
    """Tell whether a data set's folder is the phantom's, however it is spelt."""
    return Path(root).resolve() == PHANTOM.resolve()


def expanded(text: str) -> Path:
    """Put a home in place of a leading `~`, which a shell leaves in `--out=~/x` and in YAML."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # nobody is called so
        return Path(text)
