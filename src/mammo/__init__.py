"""Breast density from mammograms: one backbone, one cut, four strategies."""
