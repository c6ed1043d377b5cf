"""The API's databases: pools of connections (`databases`), and the limit on how many of them one organization
may use (`connection_shares`). `counts_state` identifies what an organization's counts are at a moment.

May import `shared` and `services.api.http`.
"""
