"""Draw the study's pictures: params.yaml -> studies/collapse/data/pictures/."""

from pathlib import Path

from mammo.stage import run_stage
from mammo.storage.files import whole_folder
from studies.collapse.ladder.pictures import load_pictures, write_pictures

OWN = Path("studies/collapse/params.yaml")
PICTURES = Path("studies/collapse/data/pictures")


def main() -> None:
    """Run the stage."""
    with whole_folder(PICTURES) as folder:
        write_pictures(folder, load_pictures(OWN))


if __name__ == "__main__":
    run_stage(main)
