"""The pictures: same bytes for the same tables, nothing hidden, nothing cut off."""

import shutil
import struct
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from mammo import paths
from mammo.figures import run as figures
from mammo.figures import style as figure_style
from mammo.figures.tables import comparison_tables
from support.made_up_results import made_up_results, write_results
from support.pipeline_copy import ROOT

ABCD = ["A", "B", "C", "D"]
NAMES = ["head_only", "last_block", "last_two_blocks", "full"]
CASES = {
    "one strategy, one epoch, two classes": (NAMES[1:2], ["AB", "CD"], 1),
    "three strategies": ([NAMES[0], NAMES[1], NAMES[3]], ABCD, 8),
    "four strategies, many epochs": (NAMES, ABCD, 30),
    "five strategies, three classes": ([*NAMES, "mine"], ["F", "G", "D"], 5),
}
PICTURES = ["confusion", "curves", "overview", "predicted_shares", "roc_pr", "strategies"]


def draw(names, classes, epochs):
    tables = comparison_tables(made_up_results(names, classes, epochs))
    return figures.draw_comparison(tables, dict.fromkeys(names, 2))


def png_chunks(content):
    """Yield the names of a PNG's chunks (ISO/IEC 15948, 5.3)."""
    position = 8
    while position < len(content):
        (length,) = struct.unpack(">I", content[position : position + 4])
        yield content[position + 4 : position + 8].decode()
        position += 12 + length


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_legend_is_clear_of_the_panels_and_no_text_is_cut_off(case):
    for name, figure in draw(*CASES[case]).items():
        FigureCanvasAgg(figure).draw()
        panels = [axes.get_window_extent() for axes in figure.findobj(mpl.axes.Axes)]
        legends = figure.findobj(mpl.legend.Legend)
        for legend in legends:
            extent = legend.get_window_extent().padded(-1)
            assert not any(extent.overlaps(panel) for panel in panels), f"{name}: legend on data"
        for text in printed_texts(figure):
            extent = text.get_window_extent()
            outside = Bbox.union([extent, figure.bbox]).size - figure.bbox.size
            assert (outside < 2).all(), f"{name}: {text.get_text()!r} is cut off"


def printed_texts(figure):
    """List the texts but tick labels, of which matplotlib keeps some out of view."""
    panels = figure.findobj(mpl.axes.Axes)
    axis = [axis for axes in panels for axis in (axes.xaxis, axes.yaxis)]
    ticks = [label for each in axis for label in each.get_ticklabels(which="both")]
    hidden = [text for axes in panels if not axes.axison for text in axes.findobj(Text)]
    skipped = {id(text) for text in ticks + hidden}
    texts = [text for text in figure.findobj(Text) if id(text) not in skipped]
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


@pytest.mark.slow
def test_figures_are_the_same_bytes_whatever_the_users_settings(tmp_path):
    for name, figure in draw(*CASES["three strategies"]).items():
        figure_style.write_png(figure, tmp_path / "first" / name)
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black", "savefig.dpi": 20}):
        for name, figure in draw(*CASES["three strategies"]).items():
            figure_style.write_png(figure, tmp_path / "second" / name)
    written = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert written == [f"{picture}.png" for picture in PICTURES]
    for name in written:
        content = (tmp_path / "first" / name).read_bytes()
        assert content == (tmp_path / "second" / name).read_bytes()
        assert set(png_chunks(content)) <= {"IHDR", "pHYs", "IDAT", "IEND"}  # no date, no versions


def test_a_strategy_keeps_its_colour_and_marker_whatever_is_beside_it():
    alone = figure_style.strategy_colours(["full"])["full"]
    assert figure_style.strategy_colours([*NAMES, "a", "b"])["full"] == alone
    markers = figure_style.strategy_markers
    assert markers(["b", "full"])["full"] == markers(NAMES)["full"]
    many = figure_style.strategy_colours([*NAMES, "c", "a", "b"])
    assert len(set(many.values())) == 7
    assert many["a"] == figure_style.MORE_COLOURS[0]


def luminance(colour):
    red, green, blue = mpl.colors.to_rgb(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("k", [2, 3, 4])
def test_class_colours_differ_in_lightness_so_that_no_hue_is_needed(k):
    lightness = [luminance(colour) for colour in figure_style.class_colours(k)]
    assert (np.diff(lightness) > 0.1).all()


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text)]


def test_the_confusion_figure_prints_every_count():
    tables = comparison_tables(made_up_results(["last_block"], ["AB", "CD"]))
    figure = figures.draw_confusion(tables["confusion.csv"], tables["strategies.csv"])
    printed = [text.split("\n")[0] for text in texts(figure)]
    for n in tables["confusion.csv"]["n"]:
        assert str(n) in printed


def test_a_collapsed_strategy_and_an_undefined_metric_are_named():
    tables = comparison_tables(made_up_results(["full"], ABCD))
    strategies = tables["strategies.csv"].assign(collapsed="true", auc_macro=None)
    printed = " ".join(texts(figures.draw_strategies(strategies)))
    assert "collapsed" in printed
    assert "none" in printed
    assert "23,516,228 (100 %)" in printed


def run_plot(folder):
    return subprocess.run(
        [sys.executable, ROOT / "stages" / "plot.py"],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "", "HOME": str(folder)},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_stage_writes_tables_and_pictures_and_names_folders_of_removed_strategies(tmp_path):
    write_results(made_up_results(["head_only", "full"], ABCD), tmp_path)
    (tmp_path / paths.TRAINING_PLOTS / "gone").mkdir()
    run = run_plot(tmp_path)
    assert run.returncode == 0, run.stderr
    assert "plots/training/gone: not among strategies" in run.stderr
    assert "head_only: not among" not in run.stderr
    written = {path.name for path in (tmp_path / paths.PLOT_PLOTS).iterdir()}
    tables = {"curves", "shares", "confusion", "roc", "pr", "strategies"}
    assert written == {f"{name}.png" for name in PICTURES} | {f"{name}.csv" for name in tables}


@pytest.mark.slow
def test_the_stage_names_a_missing_file_and_leaves_what_stood_there(tmp_path):
    write_results(made_up_results(["head_only", "full"], ABCD), tmp_path)
    shutil.rmtree(tmp_path / paths.EVALUATION_PLOTS / "full")
    (tmp_path / paths.PLOT_PLOTS).mkdir()
    (tmp_path / paths.PLOT_PLOTS / "kept.txt").touch()
    run = run_plot(tmp_path)
    assert run.returncode == 1
    assert "error: plots/evaluation/full/predictions.csv: not found" in run.stderr
    assert "Traceback" not in run.stderr
    assert [path.name for path in (tmp_path / paths.PLOT_PLOTS).iterdir()] == ["kept.txt"]


def test_a_patients_kappa_below_nil_has_its_mark_and_no_negative_nil_is_printed():
    tables = comparison_tables(made_up_results(NAMES, ABCD, 3))
    strategies = tables["strategies.csv"].assign(kappa=-0.001, kappa_patient=-0.3)
    with figure_style.style():
        figure = figures.draw_strategies(strategies)
    kappa = next(axes for axes in figure.axes if axes.get_title() == "kappa")
    assert kappa.get_xlim()[0] < -0.3
    assert [text.get_text() for text in kappa.texts] == ["0.00"] * len(NAMES)
