"""What a compressed image says about itself, checked without decoding it.

Decoders forgive: a JPEG Lossless stream cut in half decodes without a word. So every marker and
length that a standard fixes is followed here to the end-of-image marker first.
"""

import struct
from collections.abc import Callable

from pydicom import uid

from mammo.dicom import jpeg_2000_markers, jpeg_markers
from mammo.dicom.stream import Stream, expect
from mammo.errors import FileFault

NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)
JPEG_LOSSLESS = (uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000)
HTJ2K = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
LOSSY = (
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLSNearLossless,
    uid.JPEG2000,
    uid.HTJ2K,
)


def name_of(syntax: str) -> str:
    """Name a transfer syntax as the standard does; its UID where that is unknown."""
    return uid.UID(syntax).name


def is_native(syntax: str) -> bool:
    """Tell uncompressed syntaxes, one of which is deflated as a whole, from encapsulated ones."""
    return syntax in NATIVE


def check_known(syntax: str) -> None:
    """Refuse a transfer syntax that no trusted decoder reads.

    Raises:
        FileFault: Names the syntax.
    """
    if is_native(syntax) or syntax in _CHECKS:
        return
    name = name_of(syntax)
    raise FileFault(
        "unsupported_transfer_syntax",
        f"(0002,0010) is {syntax} ({'not in the standard' if name == syntax else name}); convert "
        "the file, for instance to JPEG 2000 lossless or Explicit VR Little Endian",
    )


def check(frame: bytes, syntax: str) -> Stream:
    """Follow a codestream's markers and lengths to its end.

    Raises:
        FileFault: A marker is missing or out of place, or a length doesn't fit.
    """
    check_known(syntax)
    try:
        return _CHECKS[syntax](frame)
    except (struct.error, IndexError) as error:  # read past the end
        raise FileFault("truncated_codestream", f"cut inside a marker segment: {error}") from error


def _rle(frame: bytes) -> Stream:
    """Check the table of segments (PS3.5 Annex G); their contents are checked by decoding."""
    count, *offsets = struct.unpack_from("<16L", frame)
    expect(count in (1, 2), "codestream_header", f"{count} RLE segments, must be 1 or 2")
    used = offsets[:count]
    expect(
        used[0] == 64 and used == sorted(used) and used[-1] < len(frame),
        "codestream_header",
        f"RLE segments at {used} in {len(frame)} bytes",
    )
    expect(not any(offsets[count:]), "codestream_header", "offsets of RLE segments beyond the last")
    return Stream(None, None, 8 * count, None, len(frame))


_CHECKS: dict[str, Callable[[bytes], Stream]] = {
    uid.RLELossless: _rle,
    uid.JPEGBaseline8Bit: jpeg_markers.walk_baseline,
    uid.JPEGExtended12Bit: jpeg_markers.walk_extended,
    **dict.fromkeys(JPEG_LOSSLESS, jpeg_markers.walk_lossless),
    **dict.fromkeys(JPEG_LS, jpeg_markers.walk_jpeg_ls),
    **dict.fromkeys((*JPEG_2000, *HTJ2K), jpeg_2000_markers.walk_jpeg_2000),
}
