"""README and docs: links lead somewhere, commands and keys exist, the result is report.md's."""

import itertools
import re
import shlex
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from mammo.cohort.classes import CLASSES, ClassSet
from mammo.params import load_leaf, read_params
from mammo.storage.files import read_json
from readme_result import with_result

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "studies/**/README.md", "benchmarks/README.md")
    for path in ROOT.glob(pattern)
    if ".venv" not in path.parts
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page):
    return BLOCK.sub("", read(page))


def anchors(path):
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", path.read_text(encoding="utf-8")), re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {text.strip().replace(" ", "-") for text in plain}


def commands(page, language="sh"):
    """Yield each command of the page's shell blocks, without comments."""
    for name, block in BLOCK.findall(read(page)):
        if name == language:
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&", line):
                    words = shlex.split(part, comments=True)
                    if words:
                        yield words


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(path), f"{page}: {target}"


def test_the_readme_is_short():
    assert len(read("README.md").splitlines()) <= 120


def test_the_readme_shows_the_result_of_the_report():
    readme = read("README.md")
    assert with_result(readme, read("report.md")) == readme, "run `make readme`, and commit it"


def test_every_make_target_that_a_page_names_exists_and_help_lists_it():
    targets = set(re.findall(r"^(\w+):", read("Makefile"), re.M))
    described = set(re.findall(r"^(\w+):[^#\n]*## \S", read("Makefile"), re.M))
    for page in PAGES:
        named = {w[1] for w in commands(page) if w[0] == "make" and "=" not in w[1]}
        named |= set(re.findall(r"`make (\w+)[`. ]", prose(page)))
        assert named <= targets, f"{page}: {named - targets}"
    assert described == targets


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_command_reads_exists(page):
    for words in commands(page):
        for flag, value in itertools.pairwise(words):
            if flag == "-r" and words[0] in ("pip", ".venv/bin/pip"):
                assert (ROOT / value).is_file(), f"{page}: {value}"
        for word in words:
            if re.fullmatch(r"(stages|tools|benchmarks|tests)/[\w/]+\.py", word):
                assert (ROOT / word).is_file(), f"{page}: {word}"


@pytest.mark.parametrize("page", PAGES)
def test_every_parameter_that_a_command_sets_exists(page):
    params = read_params(ROOT / "params.yaml")
    for words in commands(page):
        if words[:3] != ["dvc", "exp", "run"]:
            continue
        for flag, value in itertools.pairwise(words):
            if flag != "-S" or "…" in value or "NAME" in value:
                continue
            (override,) = OverridesParser.create().parse_overrides([value])
            entry = params
            for key in override.key_or_group.split("."):
                assert key in entry or override.is_add(), f"{page}: {value}"
                entry = entry.get(key)


@pytest.mark.parametrize("page", PAGES)
def test_every_key_of_a_yaml_block_exists(page):
    params = read_params(ROOT / "params.yaml")
    for name, block in BLOCK.findall(read(page)):
        if name != "yaml":
            continue
        for document in yaml.safe_load_all(block):
            for section, values in document.items():
                if section in params and isinstance(values, dict):
                    assert set(values) <= set(params[section]), f"{page}: {section}"


def test_the_documented_keys_of_the_report_are_those_that_it_has():
    section = read("docs/parameters.md").split("## The keys of metrics/report.json")[1]
    names = [line.split("|")[1] for line in section.split("\n## ")[0].splitlines() if "| `" in line]
    documented = []
    for name, of_each_class in re.findall(r"`(\w+)`( …)?", " ".join(names)):
        each = CLASSES[load_leaf("dataset.classes", ClassSet, ROOT / "params.yaml")]
        documented += [name[: -len("A")] + label for label in each] if of_each_class else [name]
    assert sorted(documented) == sorted(read_json(ROOT / "metrics/report.json"))


def test_every_decision_is_listed():
    pages = {path.name for path in (ROOT / "docs/decisions").glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", read("docs/decisions/README.md"))) == pages


def test_the_workflows_are_yaml_and_run_what_make_test_runs():
    for path in (".github/workflows/test.yml", ".gitlab-ci.yml", ".pre-commit-config.yaml"):
        assert yaml.safe_load(read(path)), path
    for path in (".github/workflows/test.yml", ".gitlab-ci.yml"):
        assert "bash .ci/run" in read(path)
        assert "dvc metrics diff --md" in read(path)
    assert "make test" in read(".ci/run")


def test_the_citation_names_the_version_of_the_package():
    version = re.search(r'^version = "(.*)"', read("pyproject.toml"), re.M)[1]
    cited = yaml.safe_load(read("CITATION.cff"))
    assert cited["version"] == version
    assert f"## {version}" in read("CHANGELOG.md")
