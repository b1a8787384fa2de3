"""The online service on Ray Serve: task routes, OpenAI routes, batches, a page, keys.

app.py          the application: started here, or imported by `serve deploy`
service.py      a replica: one engine, and the HTTP application on it
api.py          the routes together, behind gate.py: keys, sizes, time, cancellation, log
task_routes.py  documents in, rows or files out; openai.py: vLLM's serving classes
"""
