"""The files of compose, read as YAML: what must hold of them, wherever Docker is not."""
