"""Pages to look at images with, each one file that opens offline: contact sheets, the review."""
