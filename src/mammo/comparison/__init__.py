"""Arms side by side: intervals, paired tests, calibration, baselines, the page."""
