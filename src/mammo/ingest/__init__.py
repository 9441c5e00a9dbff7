"""Which images are believed: rules, duplicates, quarantine, keys, the summary."""
