"""What is refused before anything runs: params.yaml, and the files and folders that it names."""
