"""Transforms JSON schemas into forms that APIs accept."""
