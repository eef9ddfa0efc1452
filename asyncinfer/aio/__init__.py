"""Async tools that do not depend on engines."""
