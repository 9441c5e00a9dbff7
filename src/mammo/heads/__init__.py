"""Convex heads on tables of features: solved to convergence along a path of penalties."""
