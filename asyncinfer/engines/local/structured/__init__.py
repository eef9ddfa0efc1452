"""Structured output of local models: grammars, and checks of finished answers."""
