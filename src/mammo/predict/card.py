"""Model card and licences: written from the bundle's facts, so that they promise no more."""

from collections.abc import Mapping
from typing import Any

from mammo.comparison.calibration import at_bound
from mammo.comparison.measuring import FEWEST_PATIENTS
from mammo.evaluation.decision import prior_shares
from mammo.predict.conformal import PROMISE, fewest_patients


def model_card(facts: Mapping[str, Any]) -> str:
    """Write MODEL_CARD.md from the content of model.json.

    Source: Mitchell 2019, arXiv:1810.03993 (the sections).
    """
    parts = [
        f"# Model card: breast density, strategy `{facts['strategy']}`",
        "**Not for clinical use.** No authority has cleared this model, and nobody has shown that "
        "it helps a patient.",
        _use(facts),
        _data(facts),
        _figures(facts),
        _sets(facts),
        _limits(facts),
        _technical(facts),
    ]
    return "\n\n".join(parts) + "\n"


def _use(facts: Mapping[str, Any]) -> str:
    classes = ", ".join(facts["classes"])
    denser = facts["patient_rule"] == "denser"
    patient = "that of the denser breast" if denser else "the mean over all images"
    return (
        "## Intended use\n\n"
        f"Research on classifying mammographic breast density ({classes}) from single CC and MLO "
        "mammograms in DICOM. It reads one image at a time; a breast's answer is the mean over its "
        f"views, a patient's {patient}. It finds no cancer and says nothing about risk."
    )


def _data(facts: Mapping[str, Any]) -> str:
    data = facts["data"]
    lines = ["## Data"]
    if data["synthetic"]:
        lines.append(
            "**The training images are synthetic**: drawn by this project's phantom, not taken of "
            "any person. The figures below say that the pipeline works, and nothing about real "
            "mammograms."
        )
    lines.append(
        f"Data set `{data['name']}`; split by patient, so that nobody is in two parts. Images "
        "(patients) of each class:"
    )
    head = "| split | images | patients | " + " | ".join(facts["classes"]) + " |"
    rule = "|---|---|---|" + "---|" * len(facts["classes"])
    rows = [
        f"| {split} | {n['images']} | {n['patients']} | "
        + " | ".join(
            f"{n['images_by_class'][c]} ({n['patients_by_class'][c]})" for c in facts["classes"]
        )
        + " |"
        for split, n in data["splits"].items()
    ]
    lines.append("\n".join([head, rule, *rows]))
    if "val" in data["fitted_on"]:
        lines.append(
            "The head was fitted on train and val (`head.refit`); a head of train alone answered "
            "val, and test was seen by neither."
        )
    origin = facts["origin"]
    makers = ", ".join(name or "not stated" for name in origin["makers"])
    lines.append(
        f"Makers in {' and '.join(data['fitted_on'])}: {makers}. "
        f"Rows {origin['rows'][0]} to {origin['rows'][1]}, columns "
        f"{origin['columns'][0]} to {origin['columns'][1]}, grey scales by "
        f"{', '.join(origin['grey_scales'])}. Images unlike these are flagged `unfamiliar`."
    )
    return "\n\n".join(lines)


def _figures(facts: Mapping[str, Any]) -> str:
    figures = facts["figures"]
    lines = [
        "## Figures on the held-out test patients",
        f"{figures['images']} images of {figures['patients']} patients; decision rule "
        f"`{facts['decision']}`, prior `{facts['params']['evaluate']['prior']}`, status "
        f"**{figures['status']}**. Intervals of {figures['confidence']:.0%} by resampling "
        f"patients{without_interval(figures)}.",
        "| metric | by image | by patient |\n|---|---|---|\n"
        + "\n".join(
            f"| {name} | {shown_estimate(figures['image'].get(name))} | "
            f"{shown_estimate(figures['patient'].get(name))} |"
            for name in figures["image"]
        ),
    ]
    return "\n\n".join(lines)


def without_interval(figures: Mapping[str, Any]) -> str:
    """Say for which classes figures have no interval: '' where every class has enough patients.

    Args:
        figures: As `evaluate.figures` makes them.
    """
    thin = ", ".join(f"{name} ({n})" for name, n in figures["thin_classes"].items())
    few = f"a class of fewer than {FEWEST_PATIENTS} patients"
    return f"; none for what rests on {few}: {thin}" if thin else ""


def shown_estimate(estimate: Mapping[str, Any] | None) -> str:
    """Write a figure with its interval, or say that it has none."""
    if estimate is None or estimate["value"] is None:
        return "-"
    if estimate["low"] is None:
        return f"{estimate['value']:.3f} (no interval)"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def _sets(facts: Mapping[str, Any]) -> str:
    conformal = facts["conformal"]
    covered = ", ".join(
        f"{name} {'-' if share is None else f'{share:.0%}'}"
        for name, share in conformal["test_coverage"].items()
    )
    few = conformal["pooled"]
    lines = [
        "## Prediction sets",
        f"Scores: {conformal['scores_from']}. {PROMISE}",
        f"At a coverage of {conformal['coverage']:.0%}, test images with their class in the set: "
        f"{covered}; classes in a set on average: {conformal['mean_size']:.2f}.",
    ]
    if few:
        lines.append(
            f"Fewer than {fewest_patients(conformal['coverage'])} patients of class "
            f"{', '.join(few)}: the threshold there is that of all classes together, and the "
            "promise is for all together, too."
        )
    return "\n\n".join(lines)


def _limits(facts: Mapping[str, Any]) -> str:
    temperature = f"{facts['temperature']:.2f}, fitted on val"
    if at_bound(facts["temperature"]):
        temperature += " (an end of the range searched: no temperature suits them)"
    return (
        "## Limits\n\n"
        "- Labels are readers' opinions: readers differ from each other, and from themselves.\n"
        "- Other equipment, another population, implants, spot and magnification views are "
        "outside of what was tested; the flag `unfamiliar` catches some of that, not all.\n"
        f"- Probabilities assume the class shares {_assumed(facts)}; where densities are "
        "distributed otherwise, they are off.\n"
        "- The columns `calibrated_…` are the same probabilities at the temperature "
        f"{temperature}; answers and sets don't use them.\n"
        "- `mammo evaluate` measures the model on another data set: do that first."
    )


def _assumed(facts: Mapping[str, Any]) -> str:
    """Write the class shares that probabilities assume; of members that differ, each one's."""
    prior = facts["params"]["evaluate"]["prior"]
    each = {}
    for member in facts["members"]:
        as_trained = prior == "as_trained"
        shares = member["prior"] if as_trained else prior_shares(prior, member["counts"])
        named = zip(facts["classes"], shares, strict=True)
        each[member["strategy"]] = ", ".join(f"{name} {share:.0%}" for name, share in named)
    if len(set(each.values())) == 1:
        return next(iter(each.values()))
    return "; ".join(f"{shares} (`{strategy}`)" for strategy, shares in each.items())


def _technical(facts: Mapping[str, Any]) -> str:
    members = ", ".join(f"`{m['strategy']}` ({m['arch']})" for m in facts["members"])
    mean = ""
    if len(facts["members"]) > 1:
        mean = (
            " Each reads the image, and the probabilities are the mean of theirs; decision rule, "
            "figures and prediction sets are those of the mean. `unfamiliar` is judged by the "
            f"features of `{facts['members'][0]['strategy']}`."
        )
    return (
        "## How it was made\n\n"
        f"Networks: {members}; parameters of the backbone: see WEIGHTS_LICENSE.md. "
        "model.json holds every parameter of the preprocessing, the SHA-256 of data and code, "
        f"and all figures.{mean}"
    )


def licence_text(provenance: Mapping[str, Any]) -> str:
    """Say under which terms the backbone's parameters came."""
    lines = ["# Terms of the backbone's parameters", ""]
    source = provenance.get("source") or f"random numbers (seed {provenance.get('seed')})"
    lines.append(f"Architecture {provenance['arch']}, parameters: {source}.")
    for key, name in (("licence", "Licence"), ("package", "Package"), ("url", "From")):
        if provenance.get(key):
            version = f" {provenance['package_version']}" if key == "package" else ""
            lines.append(f"{name}: {provenance[key]}{version}.")
    if provenance["weights"] == "imagenet":
        lines.append(
            "They are torchvision's, trained on ImageNet: torchvision is under the BSD 3-Clause "
            "licence; ImageNet's pictures were released for non-commercial research."
        )
    if provenance["weights"] == "packaged":
        lines.append(
            "They were trained on ImageNet, whose pictures were released for non-commercial "
            "research."
        )
    if provenance["weights"] == "file":
        lines.append("They came from a file of the user's: its terms are the user's to state.")
    lines += ["", f"SHA-256 of the stored parameters: {provenance['sha256']}", ""]
    return "\n".join(lines)
