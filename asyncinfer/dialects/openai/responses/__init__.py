"""OpenAI's Responses API: readers and writers of its items, and the dialect."""
