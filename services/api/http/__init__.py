"""HTTP: the parts of requests and answers that all routes share.

`query` and `paths` read parameters. `answers` writes them in JSON, and `errors` those with a code of
`error_codes`. `conditional`, `compression` and `cors` set headers. `common_responses` and `models` describe
what all routes have in common.

May import `shared`, but no other package of the API.
"""
