"""The synthetic default data set: its plan, drawing, exposure, DICOM files."""
