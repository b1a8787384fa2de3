"""OpenAI's Batch API: files of requests, answered by the served engine when it has places free."""
