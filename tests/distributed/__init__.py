"""Tests on a database that Citus distributes."""
