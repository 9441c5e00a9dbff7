"""Metrics, collapse, the prediction table, the deployed path, the suffix as a file."""
