"""The generated pages of docs/reference.

`pages` lists them. Each has a file: `api_page`, `admin_page`, `settings_page`, `command_line_page`,
`errors_page`, `metrics_page`, `tables_page`, `roles_page` and `dialects_page`. `markdown` writes tables.
`python -m services.ops.reference` writes every page; run it in a clone.

May import everything that the pages describe: the services, the command line and `shared`.
"""
