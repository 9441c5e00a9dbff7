"""What `dvc plots show` and `diff` draw: the templates, and the page without a network."""

import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import vl_convert
import yaml
from dvc_render.vega import VegaRenderer
from matplotlib.colors import to_rgb
from PIL import Image

from mammo import paths
from mammo.errors import UserError
from mammo.figures import style as figure_style
from mammo.figures.tables import comparison_tables, strategy_tables
from mammo.storage.files import write_table
from offline_plots import NAME, PLOTS, VEGA_LITE, offline_page
from support.made_up_results import made_up_results, write_results
from support.pipeline_copy import ROOT

TEMPLATES = ROOT / ".dvc" / "plots"
PLOTS_SECTION = {
    name: plot
    for entry in yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
    for name, plot in entry.items()
}
ABCD = ["A", "B", "C", "D"]
NAMES = ["head_only", "last_block", "last_two_blocks", "full"]


def run(command, folder, **options):
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_plots(folder, names, classes, chosen, seed):
    """Write what the stages plot and report would."""
    results = made_up_results(names, classes, epochs=6, seed=seed)
    for name, table in comparison_tables(results).items():
        write_table(table, folder / paths.PLOT_PLOTS / name)
    result = results[chosen]
    for name, table in strategy_tables(result.history, result.predictions).items():
        write_table(table, folder / paths.REPORT_PLOTS / name)
    write_results(results, folder)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A Git and DVC repository with our plots; its last commit and its files differ."""
    folder = tmp_path_factory.mktemp("repository")
    git = partial(run, folder=folder)
    git(["git", "init", "-q"])
    git([sys.executable, "-m", "dvc", "init", "-q"])
    git([sys.executable, "-m", "dvc", "config", "core.analytics", "false"])
    shutil.copytree(TEMPLATES, folder / ".dvc" / "plots")
    section = {"plots": [{name: plot} for name, plot in PLOTS_SECTION.items()]}
    (folder / "dvc.yaml").write_text(yaml.safe_dump(section, sort_keys=False), encoding="utf-8")
    write_plots(folder, ["head_only", "last_block"], ABCD, "head_only", seed=0)
    git(["git", "add", "-A"])
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    git(["git", *author, "commit", "-q", "-m", "two strategies"])
    write_plots(folder, ["head_only", "full"], ABCD, "full", seed=1)
    git(
        [sys.executable, ROOT / "tools" / "offline_plots.py"],
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
    )
    return folder


def draw_page(repository, command, folder):
    """Let DVC draw a page, then move it away from everything that it might lean on."""
    run([sys.executable, "-m", "dvc", "plots", *command, "-o", folder / "drawn"], repository)
    page = folder / "elsewhere" / "page.html"
    page.parent.mkdir()
    return (folder / "drawn" / "index.html").rename(page)


def open_offline(chromium, page, folder):
    """Open a page in Chromium without a network and return the document that its scripts made."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=30000"]
    options += [f"--user-data-dir={folder / 'profile'}", "--disable-dev-shm-usage"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:1"]
    command = [chromium, *options, "--dump-dom", page.as_uri()]
    isolated = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") and subprocess.run([*isolated, "true"], check=False).returncode == 0:
        command = [*isolated, *command]
    return run(command, folder, timeout=120)


def charts(document):
    """Count the charts: what vega-embed drew into the elements that DVC made."""
    return len(re.findall(r'<(?:svg|canvas)[^>]*class="marks"', document))


@pytest.mark.slow
@pytest.mark.chromium
@pytest.mark.parametrize("command", [["show"], ["diff", "HEAD"]])
def test_every_chart_of_the_moved_page_is_drawn_without_a_network(
    repository, chromium, tmp_path, command
):
    page = draw_page(repository, command, tmp_path)
    document = open_offline(chromium, page, tmp_path)
    assert charts(document) == len(PLOTS_SECTION)
    for plot in PLOTS_SECTION.values():
        assert plot["title"] in document


@pytest.mark.slow
@pytest.mark.chromium
def test_without_the_offline_template_no_chart_is_drawn(repository, chromium, tmp_path):
    """Show that the test above can fail: DVC's own page needs the network."""
    local = repository / ".dvc" / "config.local"
    setting = local.read_text(encoding="utf-8")
    try:
        local.unlink()
        page = draw_page(repository, ["show"], tmp_path)
    finally:
        local.write_text(setting, encoding="utf-8")
    assert charts(open_offline(chromium, page, tmp_path)) == 0


def test_the_page_loads_nothing(repository, tmp_path):
    page = draw_page(repository, ["show"], tmp_path).read_text(encoding="utf-8")
    markup = re.sub(
        r"<script\b[^>]*>.*?</script>", lambda tag: tag[0].split(">")[0], page, flags=re.S
    )
    assert not re.findall(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=", markup)


def test_only_the_local_configuration_names_the_ignored_page():
    assert NAME not in (ROOT / ".dvc" / "config").read_text(encoding="utf-8")
    assert f"/{NAME}" in (ROOT / ".dvc" / ".gitignore").read_text(encoding="utf-8").split()


@pytest.mark.slow
def test_the_page_is_the_same_bytes_each_time():
    bundle = partial(vl_convert.javascript_bundle, vl_version=VEGA_LITE)
    bundles = [bundle(), bundle()]  # type: ignore[call-arg]  # the stub demands the snippet
    assert bundles[0] == bundles[1]
    assert offline_page(bundles[0]).count(PLOTS) == 1


@pytest.mark.parametrize(
    "text", ["a</script>b", "a</SCRIPT >b", "<!-- x", "x{plot_divs}", "{scripts}"]
)
def test_a_bundle_that_would_break_the_page_is_refused(text):
    with pytest.raises(UserError, match="its bundle must not hold"):
        offline_page(text)


def test_every_plot_names_a_template_of_ours_and_every_template_is_used():
    used = {plot["template"] for plot in PLOTS_SECTION.values()}
    assert used == {path.stem for path in TEMPLATES.glob("*.json")}


def fill(name, revisions):
    """Fill a template as DVC does, from the tables of one or more revisions."""
    plot = PLOTS_SECTION[name]
    [(source, y)] = plot["y"].items()
    rows = [
        {column: str(value) for column, value in row.items()} | {"rev": rev}
        for rev, tables in revisions.items()
        for row in tables[Path(source).name].astype(object).fillna("").to_dict("records")
    ]
    labels = {"x_label": plot["x"], "y_label": y} | plot
    renderer = VegaRenderer(
        rows, name, **(labels | {"y": y, "template": str(TEMPLATES / f"{plot['template']}.json")})
    )
    return renderer.get_filled_template()


COMPARISONS = [name for name in PLOTS_SECTION if not name.startswith("report_")]


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize(
    ("names", "classes"), [(NAMES[1:2], ["AB", "CD"]), ([*NAMES, "b", "a"], ["F", "G", "D"])]
)
def test_each_template_draws_each_strategy_in_its_colour(name, names, classes, tmp_path):
    tables = comparison_tables(made_up_results(names, classes, epochs=3))
    picture = tmp_path / "chart.png"
    chart = vl_convert.vegalite_to_png(fill(name, {"workspace": tables}), vl_version=VEGA_LITE)
    picture.write_bytes(chart)
    with Image.open(picture) as image:
        counts = image.convert("RGB").getcolors(maxcolors=1 << 24)
    drawn = np.array([colour for _, colour in counts]) / 255
    expected, tolerance = list(figure_style.strategy_colours(names).values()), 0.5 / 255
    if name == "predicted_shares":
        # Vega and matplotlib tabulate cividis each in their own way.
        expected, tolerance = figure_style.class_colours(len(classes)), 10 / 255
    if name == "confusion":
        expected = ["white"]
    for colour in expected:
        assert np.abs(drawn - to_rgb(colour)).max(axis=1).min() <= tolerance, colour
    assert len(counts) > 50


def texts(specification):
    """Draw a chart and list its texts with their places: (text, x, y)."""
    found = []

    def visit(element, x, y):
        shift = re.match(r"translate\(([-\d.]+),\s*([-\d.]+)\)", element.get("transform", ""))
        if shift:
            x, y = x + float(shift[1]), y + float(shift[2])
        lines = [element.text, *(line.text for line in element)]
        if element.tag.endswith("}text"):
            found.append(("|".join(line for line in lines if line), x, y))
        for child in element:
            visit(child, x, y)

    svg = vl_convert.vegalite_to_svg(specification, vl_version=VEGA_LITE)
    visit(ElementTree.fromstring(svg), 0.0, 0.0)
    return found


def under(found, column, row, columns, rows):
    """List the texts nearest to the two headers given, in reading order."""
    xs = {name: x for name, x, _ in found if name in columns}
    ys = {name: y for name, _, y in found if name in rows}
    inside = [
        (y, x, text)
        for text, x, y in found
        if text not in columns + rows
        and min(xs, key=lambda name: abs(xs[name] - x)) == column
        and min(ys, key=lambda name: abs(ys[name] - y)) == row
    ]
    return [text for _, _, text in sorted(inside)]


# Revisions with different strategies, in another order: what leaves cells of the grid empty.
REVISIONS = {"workspace": ["full", "head_only"], "HEAD": ["head_only", "last_block", "full"]}


def revision_tables():
    return {
        rev: comparison_tables(made_up_results(names, ABCD, epochs=3, seed=seed))
        for seed, (rev, names) in enumerate(REVISIONS.items())
    }


def test_a_diff_of_confusion_matrices_puts_each_count_under_its_strategy_and_revision():
    tables = revision_tables()
    found = texts(fill("confusion", tables))
    columns, rows = ["full", "head_only", "last_block"], list(REVISIONS)
    for rev, names in REVISIONS.items():
        for name in names:
            cells = tables[rev]["confusion.csv"]
            expected = cells.loc[cells["strategy"] == name, "n"].astype(str).tolist()
            printed = under(found, name, rev, columns, rows)
            assert [
                text.split("|")[0] for text in printed if "%" in text and "|" in text
            ] == expected


def test_a_diff_of_strategies_puts_each_value_under_its_metric_and_revision():
    tables = revision_tables()
    found = texts(fill("strategies", tables))
    metrics = ["kappa_quadratic", "kappa_quadratic_patient", "kappa", "bal_acc_adj"]
    metrics += ["auc_macro", "macro_f1"]
    for rev in REVISIONS:
        for metric in metrics:
            printed = under(found, metric, rev, metrics, list(REVISIONS))
            values = tables[rev]["strategies.csv"].set_index("strategy")[metric]
            expected = sorted(f"{value:.2f}" for value in values)
            assert sorted(text for text in printed if re.fullmatch(r"\d\.\d\d", text)) == expected


def test_a_diff_of_shares_marks_the_collapsed_epochs_of_the_strategy_that_collapsed():
    tables = revision_tables()
    found = texts(fill("predicted_shares", tables))
    columns = ["full", "head_only", "last_block"]
    for rev, names in REVISIONS.items():
        shares = tables[rev]["shares.csv"]
        for name in names:
            marked = shares[(shares["strategy"] == name) & (shares["status"] == "collapsed")]
            crosses = under(found, name, rev, columns, list(REVISIONS)).count("✕")
            assert crosses == marked["epoch"].nunique() == (1 if name == "full" else 0)


def legends(node):
    """Find the legends that a template sets, wherever they stand."""
    if isinstance(node, dict):
        found = [node["legend"]] if isinstance(node.get("legend"), dict) else []
        return found + [legend for value in node.values() for legend in legends(value)]
    return [legend for value in node for legend in legends(value)] if isinstance(node, list) else []


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.json")), ids=lambda path: path.stem)
def test_no_legend_lies_beside_a_row_of_panels_that_a_phone_cuts_off(template):
    drawn = {k: v for k, v in json.loads(template.read_text()).items() if k != "config"}
    assert all(legend.get("orient") == "top" for legend in legends(drawn))


def test_the_page_takes_the_width_of_the_screen_that_it_is_on():
    assert '<meta name="viewport" content="width=device-width' in offline_page("")
