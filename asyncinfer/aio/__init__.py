"""Async tools that know no engine."""
