"""The API's databases: pools of connections (`databases`), and how much of them one organization may hold
(`connection_shares`).

May import `shared` and `services.api.http`.
"""
