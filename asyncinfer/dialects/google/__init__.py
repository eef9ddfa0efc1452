"""The APIs of Gemini and Vertex AI."""
