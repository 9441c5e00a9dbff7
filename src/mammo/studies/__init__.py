"""What the studies need beyond the pipeline: other folds, seeds, architectures, and a ladder."""
