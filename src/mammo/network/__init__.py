"""Blocks, cut, weights, arithmetic: a backbone is an ordered list of blocks."""
