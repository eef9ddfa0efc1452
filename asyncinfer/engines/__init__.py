"""Engines: models in this process or behind an API, and the methods that answer conversations with them."""
