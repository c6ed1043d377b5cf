"""Webhooks: the routes `endpoints`, which manage them, and `deliveries`, which show and repeat what was sent.

`found_webhook` finds the webhook of a path. `models` and `documentation` describe bodies and answers.

May import `shared`, `services.api.calls` and everything below it.
"""
