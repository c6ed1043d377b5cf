"""`python -m services.ops.reference` writes the generated pages of docs/reference. Run it in a clone."""

from services.ops.reference.pages import FOLDER, PAGES


def main() -> None:
    """Writes each page, and prints the paths of those that changed."""
    for name, generate in PAGES.items():
        file = FOLDER / name
        before = file.read_text() if file.exists() else ""
        page = generate(before)
        if page != before:
            file.parent.mkdir(exist_ok=True)
            file.write_text(page)
            print(file)


if __name__ == "__main__":
    main()
