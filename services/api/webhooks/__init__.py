"""Webhooks: the routes `endpoints`, which manage them, and `deliveries`, which show and repeat what was sent.

`found_webhook` finds the webhook of a path, and `deliveries_query` reads the query of a list. `models` and
`documentation` describe bodies and answers.

May import `shared`, `services.api.calls` and everything below it.
"""
