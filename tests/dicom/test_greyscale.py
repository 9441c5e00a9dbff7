"""Golden values worked out by hand from PS3.3 C.11."""

import numpy as np
import pytest

from mammo.dicom.greyscale import (
    Choice,
    GreyScale,
    LookupTable,
    Window,
    brightness,
    choices,
    display,
    used_bits,
)
from mammo.errors import FileFault


def grey_scale(**changes) -> GreyScale:
    facts = {
        "lowest": 0,
        "highest": 4095,
        "inverted": False,
        "slope": 1.0,
        "intercept": 0.0,
        "modality_lut": None,
        "voi_luts": (),
        "windows": (),
        "function": "LINEAR",
        "padding": None,
    }
    return GreyScale(**(facts | changes))


def test_linear_window_of_the_full_range_is_the_identity():
    # C.11.2.1.2.1 with c = 2048, w = 4096: y = (x - 2047.5) / 4095 + 0.5 = x / 4095
    x = np.array([0, 1, 1000, 4094, 4095], dtype=float)
    shown = Window(2048, 4096).apply(x, "LINEAR")
    np.testing.assert_allclose(shown, x / 4095, atol=1e-12)


def test_linear_window_clips_where_the_standard_says():
    # C.11.2.1.2.1: c = 0, w = 100 gives x <= -50 black, x > 49 white,
    # else (x + 0.5) / 99 + 0.5; at 0: 0.5 / 99 + 0.5 = 0.505051
    shown = Window(0, 100).apply(np.array([-51.0, -50, -49, 0, 49, 50]), "LINEAR")
    np.testing.assert_allclose(shown, [0, 0, 1 / 99, 0.505051, 1, 1], atol=1e-6)


def test_linear_window_of_width_one_is_a_step():
    # c = 2048, w = 1: x <= 2047.5 black, above white
    shown = Window(2048, 1).apply(np.array([2046.0, 2047, 2048, 2049]), "LINEAR")
    assert shown.tolist() == [0, 0, 1, 1]


def test_linear_exact_window_is_half_open():
    # C.11.2.1.3.2: c = 0, w = 100: x <= -50 black, x > 50 white, else x / 100 + 0.5
    shown = Window(0, 100).apply(np.array([-50.0, -49, 0, 50, 51]), "LINEAR_EXACT")
    np.testing.assert_allclose(shown, [0, 0.01, 0.5, 1, 1], atol=1e-12)


def test_sigmoid_window():
    # C.11.2.1.3.1: 1 / (1 + exp(-4 (x - c) / w)); half a width above c: 1 / (1 + e^-2)
    shown = Window(2653, 900).apply(np.array([2653.0, 2653 + 450, 2653 - 450]), "SIGMOID")
    np.testing.assert_allclose(shown, [0.5, 0.880797, 0.119203], atol=1e-6)


@pytest.mark.parametrize(
    ("width", "function"),
    [
        (0.5, "LINEAR"),
        (0, "LINEAR_EXACT"),
        (-3, "SIGMOID"),
        (100, "CUBIC"),
        (float("nan"), "LINEAR"),
    ],
)
def test_invalid_window_raises(width, function):
    with pytest.raises(FileFault) as caught:
        Window(10, width).apply(np.zeros(1), function)
    assert caught.value.reason == "window_invalid"


def test_lut_maps_from_its_first_value_and_holds_its_ends():
    # C.11.2.1.1: inputs below the first value take the first entry, above the last the last
    lut = LookupTable(first=10, entries=np.array([5, 6, 7]), bits=8)
    assert lut.apply(np.array([0.0, 10, 11, 12, 99])).tolist() == [5, 5, 6, 7, 7]


def test_rescale_comes_before_the_window():
    # stored 1500 with slope 2, intercept -1000 is 2000; window 2000/100 LINEAR: 0.5/99 + 0.5
    grey = grey_scale(slope=2.0, intercept=-1000.0, windows=(Window(2000, 100),))
    assert display(grey, next(choices(grey, "auto", 0)))[1500] == pytest.approx(0.505051, abs=1e-6)


def test_voi_lut_takes_the_output_of_the_modality_lut():
    modality = LookupTable(first=0, entries=np.array([3, 1]), bits=8)
    voi = LookupTable(first=0, entries=np.array([0, 85, 170, 255]), bits=8)
    grey = grey_scale(highest=3, modality_lut=modality, voi_luts=(voi,))
    # stored 0 -> 3 -> 255/255; stored 1 and above -> 1 -> 85/255
    np.testing.assert_allclose(display(grey, Choice("lut", 0)), [1, 1 / 3, 1 / 3, 1 / 3], atol=1e-6)


def test_monochrome1_is_inverted_after_the_voi():
    grey = grey_scale(inverted=True, windows=(Window(2048, 4096),))
    np.testing.assert_allclose(display(grey, Choice("window", 0))[[0, 4095]], [1, 0])


def test_padding_is_black_also_where_it_is_inverted():
    grey = grey_scale(inverted=True, windows=(Window(2048, 4096),), padding=(0, 2))
    assert display(grey, Choice("window", 0))[:4].tolist()[:3] == [0, 0, 0]
    assert display(grey, Choice("window", 0))[3] > 0.99
    assert brightness(grey)[1] == 0


def ways(grey, voi="auto", index=0):
    return [(choice.kind, choice.number) for choice in choices(grey, voi, index)]


def test_auto_tries_luts_then_windows_then_percentiles():
    lut = LookupTable(0, np.array([0, 255]), 8)
    windows = (Window(1, 2), Window(3, 4))
    both = grey_scale(voi_luts=(lut,), windows=windows)
    assert ways(both) == [("lut", 0), ("window", 0), ("window", 1), ("percentiles", 0)]
    assert ways(grey_scale(windows=windows), index=1)[:2] == [("window", 1), ("window", 0)]
    assert ways(grey_scale()) == [("percentiles", 0)]
    assert ways(grey_scale(own="none")) == [("none", 0), ("percentiles", 0)]


def test_an_explicit_voi_is_the_only_way():
    assert ways(grey_scale(windows=(Window(1, 2),)), "percentiles") == [("percentiles", 0)]
    assert ways(grey_scale(), "window", 2) == [("window", 2)]


def test_a_broken_window_raises_only_when_it_is_chosen():
    fault = FileFault("window_invalid", "no number")
    grey = grey_scale(windows=(fault, Window(2048, 4096)))
    assert display(grey, Choice("window", 1))[4095] == 1
    with pytest.raises(FileFault, match="window_invalid"):
        display(grey, Choice("window", 0))


@pytest.mark.parametrize(
    ("highest", "said", "used"),
    [(4095, 16, 12), (4096, 16, 14), (255, 16, 8), (65535, 16, 16), (40000, 16, 16), (200, 8, 8)],
)
def test_depth_comes_from_the_values_where_the_descriptor_says_more(highest, said, used):
    assert used_bits(highest, said) == used
    assert LookupTable(0, np.array([0, highest]), said).maximum == 2**used - 1


def test_one_of_several_windows_is_picked_by_index():
    grey = grey_scale(windows=(Window(2048, 4096), Window(100, 200)))
    assert display(grey, Choice("window", 1))[4095] == 1
    assert display(grey, Choice("window", 1))[300] == 1
    assert display(grey, Choice("window", 0))[300] == pytest.approx(300 / 4095)


def test_asking_for_a_voi_that_the_file_lacks_raises():
    for choice in ("lut", "window"):
        with pytest.raises(FileFault) as caught:
            display(grey_scale(), Choice(choice))
        assert caught.value.reason == "voi_absent"


def test_signed_values_start_the_table_at_the_lowest():
    grey = grey_scale(lowest=-4, highest=3, windows=(Window(0, 8),), function="LINEAR_EXACT")
    np.testing.assert_allclose(display(grey, Choice("window", 0)), np.arange(8) / 8)
