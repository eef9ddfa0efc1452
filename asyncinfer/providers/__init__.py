"""Who speaks which dialect, where, and with which key."""
