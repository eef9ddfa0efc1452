"""HTTP: sends requests and reads responses, within limits."""
