"""HTTP: what every route needs of a request and an answer.

`server` bounds what a client may send and how slowly. `query` and `paths` read parameters, `errors` and
`encoding` write answers; `conditional`, `compression` and `cors` are their headers. `documentation` and
`models` describe what all routes have in common.

Imports nothing of the other packages of the API.
"""
