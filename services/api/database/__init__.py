"""The API's databases: bounded pools of connections, and how much of them one organization may hold.

Imports `services.api.http`.
"""
