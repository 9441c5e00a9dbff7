"""What crosses the cut, computed once: augmented views, stores, sources."""
