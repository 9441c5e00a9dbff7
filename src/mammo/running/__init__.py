"""Many files side by side: worker processes, or a cluster."""
