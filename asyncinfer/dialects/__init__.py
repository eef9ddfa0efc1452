"""Wire formats: what goes to an API and what comes back. Pure; transport moves the bytes."""
