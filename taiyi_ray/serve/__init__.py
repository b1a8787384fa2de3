"""The online service on Ray Serve: task routes, OpenAI routes, batches, a page, keys.

app.py          the application of Ray Serve: `taiyi-ray serve` runs it, `serve deploy` imports it
service.py      a replica: one engine, and the HTTP application that uses it
api.py          the HTTP application: all routes behind the gate
gate.py         keys, sizes, time limit, cancellation, access log
task_routes.py  documents in, rows or files out
openai.py       OpenAI's routes, answered by vLLM's serving classes
batches/        OpenAI's Batch API
"""
