"""Stored values -> one tensor an image: breast, crop, resize, shards."""
