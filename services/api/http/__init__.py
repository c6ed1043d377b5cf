"""HTTP: what every route needs of a request and an answer.

`server` bounds what a client may send and how slowly. `query` and `paths` read parameters, `errors` and
`encoding` write answers; `conditional`, `compression` and `cors` are their headers. `common_responses` and
`models` describe what all routes have in common.

May import `shared`, and nothing of the other packages of the API.
"""
