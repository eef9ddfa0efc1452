"""One run: read rows, admit them, generate, retry, save, write the output, report progress."""
