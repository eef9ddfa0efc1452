"""The command line. Data goes to stdout; progress, messages and logs go to stderr."""
