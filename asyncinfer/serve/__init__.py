"""An OpenAI-compatible server over any engine."""
