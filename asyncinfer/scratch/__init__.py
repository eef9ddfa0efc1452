"""Saves finished rows: the keys of rows, the scratch file, and its recovery after a crash."""
