"""One file -> stored values: parsing, header, grey scale, codestreams, decoders, pictures."""
