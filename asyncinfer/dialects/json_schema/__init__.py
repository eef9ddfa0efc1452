"""Transforms JSON schemas into what an API accepts."""
