import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from mammo.dicom.jpeg_dct import check_dct
from mammo.dicom.jpeg_markers import scan_end
from mammo.errors import FileFault
from support.dicom_files import breast_pixels

GREY = Image.fromarray(breast_pixels(rows=150, columns=70, bits=8))
COLOUR = GREY.convert("RGB")
END = b"\xff\xd9"


def encoded(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


FORMS = {
    "grey": encoded(GREY),
    "grey, progressive": encoded(GREY, progressive=True),
    "grey, progressive, few levels": encoded(GREY, progressive=True, quality=20),
    "grey, progressive, restarts": encoded(GREY, progressive=True, restart_marker_blocks=7),
    "colour of 4:4:4": encoded(COLOUR, subsampling=0),
    "colour of 4:2:2": encoded(COLOUR, subsampling=1),
    "colour of 4:2:0": encoded(COLOUR, subsampling=2),
    "colour, own tables": encoded(COLOUR, optimize=True),
    "colour, restarts": encoded(COLOUR, restart_marker_blocks=3),
    "colour, progressive": encoded(COLOUR, progressive=True),
    "colour of 4:4:4, progressive": encoded(COLOUR, progressive=True, subsampling=0),
}


def scan_starts(frame: bytes) -> list[int]:
    """Where each scan's data begin."""
    starts, position = [], 0
    while (position := frame.find(b"\xff\xda", position)) >= 0:
        length = int.from_bytes(frame[position + 2 : position + 4], "big")
        position += 2 + length
        starts.append(position)
    return starts


@pytest.mark.parametrize("form", FORMS)
def test_a_whole_jpeg_is_followed_to_its_end(form):
    check_dct(FORMS[form])
    check_dct(FORMS[form] + b"left over")


@pytest.mark.parametrize("form", FORMS)
def test_a_jpeg_that_is_cut_anywhere_and_got_an_end_marker_raises(form):
    whole = FORMS[form]
    start = scan_starts(whole)[0]
    for place in np.linspace(start, len(whole) - 6, 60).astype(int):
        cut = whole[:place].rstrip(b"\xff") + END
        with pytest.raises(FileFault, match=r"scan_length|truncated_codestream|codestream_header"):
            check_dct(cut)


@pytest.mark.parametrize("form", FORMS)
def test_a_hole_of_zeros_raises(form):
    whole = FORMS[form]
    middle = (scan_starts(whole)[0] + len(whole)) // 2
    with pytest.raises(FileFault, match=r"scan_length|codestream_header"):
        check_dct(whole[:middle] + bytes(100) + whole[middle + 100 :])


@pytest.mark.parametrize("form", [form for form in FORMS if "progressive" in form])
def test_a_progressive_jpeg_without_its_last_scans_raises(form):
    whole = FORMS[form]
    starts = scan_starts(whole)
    assert len(starts) >= 6
    for start in starts[:-1]:
        end, _, _ = scan_end(whole, start)
        with pytest.raises(FileFault, match="truncated_codestream"):
            check_dct(whole[:end] + END)


def test_a_progressive_scan_that_follows_none_raises():
    whole = FORMS["grey, progressive"]
    first, second, *_ = scan_starts(whole)
    end, _, _ = scan_end(whole, first)
    after, _, _ = scan_end(whole, second)
    with pytest.raises(FileFault, match="follows none before it"):
        check_dct(whole[:after] + whole[end:])


def one_scan_a_component(planes: list[np.ndarray]) -> bytes:
    """Set grey streams of the same tables together as components of one frame (T.81 A.2.3)."""
    grey = [encoded(Image.fromarray(plane)) for plane in planes]
    header = grey[0][: grey[0].index(b"\xff\xda")]
    frame = header.index(b"\xff\xc0")
    size = header[frame + 4 : frame + 9]
    components = b"".join(bytes((name, 0x11, 0)) for name in (1, 2, 3))
    many = b"\xff\xc0\0\x11" + size + b"\3" + components
    scans = b""
    for name, stream in zip((1, 2, 3), grey, strict=True):
        (start,) = scan_starts(stream)
        scans += b"\xff\xda\0\x08\1" + bytes((name, 0, 0, 63, 0)) + stream[start:-2]
    return header[:frame] + many + header[frame + 13 :] + scans + END


def test_components_in_scans_of_their_own_are_followed_and_none_may_be_missing():
    luma = np.asarray(GREY)
    flat = np.full_like(luma, 128)
    whole = one_scan_a_component([luma, flat, flat])
    shown = np.asarray(Image.open(io.BytesIO(whole)))
    assert np.abs(shown[..., 1].astype(int) - luma).max() < 40
    check_dct(whole)
    last = whole.rindex(b"\xff\xda")
    with pytest.raises(FileFault, match="scan of a component is missing"):
        check_dct(whole[:last] + END)


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("level", [50, 100])
def test_a_scan_ends_with_its_data(bits, level):
    pixels = breast_pixels(rows=150, columns=70, bits=bits)
    frame = imagecodecs.jpeg8_encode(pixels, level=level, bitspersample=bits)
    check_dct(frame)
    with pytest.raises(FileFault, match="scan_length"):
        check_dct(frame[:-12].rstrip(b"\xff") + END)
    with pytest.raises(FileFault, match="scan_length"):
        check_dct(frame[:-2] + b"\x55\x55" + END)


def test_a_coding_that_is_not_followed_is_named():
    frame = bytearray(FORMS["grey"])
    frame[frame.index(b"\xff\xc0") + 1] = 0xC9  # arithmetic
    with pytest.raises(FileFault, match="neither baseline, extended nor progressive"):
        check_dct(bytes(frame))
