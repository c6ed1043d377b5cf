"""The console: pages for a browser, built from `web` into `built`, and served below /console.

`build` builds them, and needs Node only then. `build_hook` runs it for a wheel. `built_files` reads them.
`serving` answers requests.
"""
