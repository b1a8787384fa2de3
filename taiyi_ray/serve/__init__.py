"""The online service on Ray Serve: task routes, OpenAI routes, batches, a page, keys."""
