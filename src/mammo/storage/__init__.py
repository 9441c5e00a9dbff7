"""Files and folders written whole, digests, the scratch store, sharded tensors."""
