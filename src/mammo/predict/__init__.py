"""The bundle, and what is done with one: predict, explain, evaluate, inspect, export."""
