import io
import struct

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from mammo.dicom.jpeg_2000_markers import walk_jpeg_2000
from mammo.errors import FileFault
from support.dicom_files import HTJ2K, JPEG_2000, breast_pixels, codestream

PIXELS = breast_pixels(rows=512, columns=384)


def encoded(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG2000", no_jp2=True, **options)
    return buffer.getvalue()


STREAMS = {
    "lossless": codestream(PIXELS, JPEG_2000),
    "lossy": imagecodecs.jpeg2k_encode(PIXELS, level=45, codecformat="j2k", bitspersample=12),
    "in layers": encoded(PIXELS, quality_mode="rates", quality_layers=[40, 20, 10, 5, 1]),
    "in precincts": encoded(PIXELS, precinct_size=(256, 256), codeblock_size=(64, 64)),
    "in tiles": encoded(PIXELS, tile_size=(200, 200)),
}


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_hole_of_zeros_is_refused(kind, place):
    whole = STREAMS[kind]
    walk_jpeg_2000(whole)
    start = int(len(whole) * place)
    holed = whole[:start] + bytes(400) + whole[start + 400 :]
    with pytest.raises(FileFault, match=r"codestream_damaged: \d+ zeros"):
        walk_jpeg_2000(holed)


@pytest.mark.parametrize("kind", [*STREAMS, "HTJ2K"])
def test_a_sector_of_something_else_is_refused(kind):
    whole = STREAMS.get(kind) or codestream(PIXELS, HTJ2K)
    walk_jpeg_2000(whole)
    other = np.random.default_rng(0).bytes(4096)
    start = len(whole) // 2
    with pytest.raises(FileFault, match=r"codestream_damaged: FF\w\w among the packets|truncated"):
        walk_jpeg_2000(whole[:start] + other + whole[start + 4096 :])


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("what", ["blank", "chessboard", "chessboard of 16", "noise"])
def test_streams_of_made_up_pictures_hold_no_hole(what, bits):
    y, x = np.mgrid[:777, :513]
    values = {
        "blank": np.zeros((777, 513)),
        "chessboard": (x + y) % 2,
        "chessboard of 16": (x // 16 + y // 16) % 2,
        "noise": np.random.default_rng(0).random((777, 513)),
    }[what]
    pixels = np.rint(values * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    for resolutions in (1, 6):
        walk_jpeg_2000(codestream(pixels, JPEG_2000, bits, resolutions=resolutions))
    walk_jpeg_2000(encoded(pixels, precinct_size=(32, 32), codeblock_size=(16, 16)))
    walk_jpeg_2000(encoded(pixels, quality_mode="rates", quality_layers=[50, 20, 10, 5, 2, 1]))


def test_many_empty_packets_are_no_hole():
    whole = codestream(np.zeros((64, 64), np.uint16), JPEG_2000, 16)
    layers, more = 100, bytes(6 * 99)  # one a layer and resolution
    many = bytearray(whole[:-2] + more + whole[-2:])
    struct.pack_into(">H", many, many.index(b"\xff\x52") + 6, layers)
    length = many.index(b"\xff\x90") + 6
    (before,) = struct.unpack_from(">L", many, length)
    struct.pack_into(">L", many, length, before + len(more))
    assert not imagecodecs.jpeg2k_decode(bytes(many)).any()
    walk_jpeg_2000(bytes(many))


def test_a_packet_may_begin_with_its_marker():
    whole = bytearray(codestream(PIXELS, JPEG_2000, resolutions=1))
    whole[whole.index(b"\xff\x52") + 4] |= 2  # SOP is used (T.800 A.8.1)
    packets = whole.index(b"\xff\x93") + 2
    whole[packets:packets] = b"\xff\x91\0\4\0\0"
    length = whole.index(b"\xff\x90") + 6
    (before,) = struct.unpack_from(">L", whole, length)
    struct.pack_into(">L", whole, length, before + 6)
    np.testing.assert_array_equal(imagecodecs.jpeg2k_decode(bytes(whole)), PIXELS)
    walk_jpeg_2000(bytes(whole))
