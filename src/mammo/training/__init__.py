"""Train a suffix: settings, loop, watch, resume, balancing, losses."""
