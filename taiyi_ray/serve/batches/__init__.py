"""OpenAI's Batch API: the engine answers files of requests when it has free slots."""
