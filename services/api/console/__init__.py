"""The console: pages for a browser, built from `web` into `built`, and served below /console.

`build.py` builds them, and needs Node only then. `built_files.py` reads them. `serving.py` answers requests.
"""
