"""Wire formats: encode requests to an API and decode its responses. No module here does I/O."""
