"""Decides how many requests may be in flight, when the next may start, and what is tried again."""
