"""Change the values of a params.yaml."""


def change(values, key, value):
    """Set the value of a key given with its parents, as `dvc exp run -S` takes it."""
    *parents, last = key.split(".")
    for parent in parents:
        values = values[parent]
    values[last] = value
