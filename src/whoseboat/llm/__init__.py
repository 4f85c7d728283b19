"""The client of any OpenAI-compatible endpoint: concurrency, deadlines, retries, limits, budget; and the Batch API.

```
settings   what a user says: model, endpoint, limits
replies    pure: what a server sent -> a reply, or what to do about it
pace       how many requests at once, and when to pause
budget     tokens and cost, counted and limited
client     one request, until it is answered or given up
pool       many of them, in the order of their items
serving    a server that a run starts for itself, watches and ends; keeper: what ends it when the run is killed
batch      the same requests through the Batch API
```
"""
