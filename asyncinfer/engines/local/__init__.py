"""Engines whose model runs in this process."""
