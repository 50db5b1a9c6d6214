"""One discovery over the tasks of many files, which together do not fit into memory."""
