"""The console: pages for a browser at /console. The API serves `console.html` for developers, and on its
monitor port `operators.html` for operators.

`build` builds them from `web`, and `build_hook` does so for a wheel. `built_files` reads them, and `serving`
answers requests. Requests of the pages go to the public API, or to the admin API.

May import `services.api.http` and `shared`.
"""
