"""Section `ingest`."""

from typing import Annotated, Literal

from pydantic import Field

from mammo.params import Params

Policy = Literal["reject", "flag"]


class Policies(Params):
    """What becomes of an image that breaks a rule: rejected, or kept with a flag.

    `multi_frame: first` keeps an object of several frames for the first one. An unreadable folder
    stops the run, or is counted and left out.
    """

    not_mammography: Policy
    multi_frame: Literal["first", "reject"]
    tomosynthesis: Policy
    localizer: Policy
    not_cc_mlo: Policy
    magnification_view: Policy
    spot_view: Policy
    partial_view: Policy
    implant_displaced: Policy
    burned_in_annotation: Policy
    laterality_mismatch: Policy
    view_mismatch: Policy
    for_processing_mixed: Policy
    duplicate_sop_instance_uid: Policy
    duplicate_pixels: Policy
    unreadable_folder: Policy


class IngestParams(Params):
    """Section `ingest` of params.yaml.

    Attributes:
        workers: Processes that read files; 0 for one a core.
        policies: One for each rule that an image may break and still be decoded.
    """

    workers: Annotated[int, Field(ge=0)]
    policies: Policies
