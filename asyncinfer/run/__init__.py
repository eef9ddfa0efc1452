"""One run: reads rows, gets them answered, saves the answers, writes the output and reports the progress."""
