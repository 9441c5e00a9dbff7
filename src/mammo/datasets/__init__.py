"""One publisher's label table a module, read into rows of one image each."""
