"""The console: pages for a browser, which the API serves at /console.

`build` builds them from `web`, and `build_hook` does so for a wheel. `built_files` reads them, and `serving`
answers requests. Their own requests go to the public API.

May import `services.api.http` and `shared`.
"""
