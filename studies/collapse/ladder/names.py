"""What pictures and bench must agree on."""

EMBEDDED = "full"  # the strategy whose embeddings hold the pooled features
