"""Tables: rows of columns that are read from files, data sets and frames, and written to files."""
