"""Parameters of the preprocessing tests."""

from mammo.dicom.params import Limits
from mammo.preprocess.params import PreprocessParams

LIMITS = Limits(max_pixels=10**7, max_inflated_mb=64)


PARAMS = PreprocessParams(
    size_px=64,
    dtype="uint8",
    voi="auto",
    voi_index=0,
    by_manufacturer=[],
    percentile_low=0.5,
    percentile_high=99.5,
    crop=True,
    orientation="auto",
    background="keep",
    reduced_decode=True,
    duplicate_pixels="reject",
    workers=1,
    timeout_s=60,
    memory_mb=1024,
    shard_mb=1,
    scheduler=None,
)
