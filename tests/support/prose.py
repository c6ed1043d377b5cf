"""The sentences of pages, docstrings, comments and messages, and the rules that they break.

`python -m tests.support.prose [FOLDER | FILE]…` prints each breach; `--longest N` prints the longest ones.
"""

import ast
import inspect
import io
import itertools
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.repository import ROOT

MOST_WORDS: Final = 35
"""A sentence should have at most 25 words. One that has more than this fails."""

# A word that no manual of this field uses, and the one to use in its place.
BETTER_WORDS: Final = {
    r"anew|once more": "again",
    r"letter by letter": "verbatim, or exactly",
    r"(?<!there )(?:is|are|was|were) (?:(?-i:none)|nothing)": "there is no …, or is not …",
    r"(?<!there )(?:is|are|was|were) no (?!longer|more|less|other)": "is not a …, or there is no …",
    r"of before": "older, or from before …",
    r"so many": "at most N, or N",
    r"(?:is|are|was|were) (?:still )?away": "is unreachable",
    r"mend(?:s|ed|ing)?|put right": "repair, or fix",
    r"who(?:m|so)?ever": "the noun: client, process, operator",
    r"whatever": "every …, or the noun",
    r"nobody|somebody|anybody|everybody": "the noun: client, process, operator",
    r"be it|be they": "whether … or not",
    r"(?:is|are|was|were) (?:to be|told|said|asked)": "must be, is reported, is requested",
    r"told|tells? of|says? so": "reported, logged, given",
    r"(?:goes|go|went|going) on": "continues, or resumes",
    r"begins? again|began again": "restarts, or retries",
    r"be rid of": "remove",
    r"a line a|a thing": "one … per …",
    r"just so": "in the same way",
    r"the other way round": "conversely",
    r"(?:is|are|was|were) (?:not )?there(?= already|[.,;:)]|$)": "exists",
    r"of whom|to whom|by whom": "the noun",
    r"as it has to be|as it should be": "valid",
    r"has it that|knows better|gone wrong": "the fault, by its name",
    r"for good": "permanently",
    r"in hand": "being processed",
}
_WORDS: Final = [
    (re.compile(rf"\b(?:{pattern})(?!\w)", re.IGNORECASE), better) for pattern, better in BETTER_WORDS.items()
]
_TOO: Final = re.compile(r", too(?=[.,;:)!?]|$)")
_CLAUSE: Final = re.compile(r"(?:What|Who|Whose|Whom|Which)\b[^?]*$")
# SQL, regular expressions, and programs.
_CODE: Final = re.compile(
    r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|FROM|WHERE|DROP|GRANT|REVOKE|VALUES|JOIN|NULL)\b"
    r"|\\|\[0-9\]|^(?:import|from) ",
    re.MULTILINE,
)
_QUOTE_BREACHES: Final = ("prose.py", "test_prose.py")
PAGES: Final = ("*.md", "docs/**/*.md", "benchmarks/*.md", "deploy/**/*.md", "examples/**/*.md")
SOURCES: Final = (
    "services/**/*.py",
    "shared/**/*.py",
    "benchmarks/**/*.py",
    "examples/*.py",
    "tests/**/*.py",
)

OTHERS: Final = (
    *("*.yml", "deploy/**/*.yml", "deploy/**/*.yaml", "examples/*.sh"),
    *("Dockerfile", "check", "callfold", ".bootstrap.sh", ".ci/run", ".env.example", ".env.cluster"),
)
"""Files of other languages: their comments begin with #."""
_ANNOTATION: Final = re.compile(r"(?P<indent> *)(?:summary|description): (?P<text>.*)")


@dataclass(frozen=True)
class Sentence:
    """One sentence, its file and the line where its paragraph begins."""

    file: Path
    line: int
    text: str
    is_heading: bool = False

    @property
    def words(self) -> int:
        return sum(any(letter.isalnum() for letter in word) for word in self.text.split())

    def breaches(self) -> list[str]:
        """Each rule that this sentence breaks, as a sentence; an empty list if it keeps all."""
        found = [
            f"“{m[0]}”: write {better}" for pattern, better in _WORDS for m in pattern.finditer(self.text)
        ]
        if _TOO.search(self.text):
            found.append("“, too” at the end: write also")
        if self.words >= 6 and not self.is_heading and _CLAUSE.match(self.text):
            found.append("the subject is a clause: begin with the noun")
        if self.words > MOST_WORDS:
            found.append(f"{self.words} words: at most {MOST_WORDS}, better 25")
        return found

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


def sentences_of(path: Path) -> list[Sentence]:
    """The sentences of a page (Markdown), or of a source's docstrings, comments and messages.

    Other files have comments, and alerts have a summary and a description.
    """
    file = path.relative_to(ROOT)
    text = path.read_text()
    if path.suffix == ".md":
        paragraphs = _paragraphs_of_page(text)
    elif path.suffix == ".py":
        paragraphs = _paragraphs_of_source(text)
    else:
        paragraphs = _paragraphs_of_settings(text)
    return [
        Sentence(file, line, sentence, paragraph.startswith("#"))
        for line, paragraph in paragraphs
        for sentence in _split(paragraph)
    ]


def files() -> list[Path]:
    """The pages and sources that the rules hold for. Steps of the database keep the words of their time."""
    return sorted(
        path
        for pattern in (*PAGES, *SOURCES, *OTHERS)
        for path in ROOT.glob(pattern)
        if not {"versions", *_QUOTE_BREACHES}.intersection(path.parts)
    )


def _split(paragraph: str) -> Iterator[str]:
    """The sentences of a paragraph. Code counts as one word, a link as its text."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", paragraph.lstrip("#> "))
    text = re.sub(r"``.+?``|`[^`]*`", "`code`", text)
    text = re.sub(r"\*\*|__|<br>", " ", text)
    for sentence in re.split(r"(?<=[.!?])[)\"”*]*\s+(?=[^a-z]|callfold\b)", text):
        if sentence := " ".join(sentence.split()):
            yield sentence


def _paragraphs_of_page(text: str) -> Iterator[tuple[int, str]]:
    """Paragraphs, list items, headings and cells of tables, each with its line; no code."""
    paragraph: list[str] = []
    first = 0
    fenced = html = in_list = False
    for number, line in enumerate([*text.splitlines(), ""], 1):
        bare = line.strip()
        if bare.startswith(("```", "~~~")):
            fenced = not fenced
        html = (html or bare.startswith("<!--")) and "-->" not in bare
        begins = re.match(r"([-*+]|\d+\.|>|!!!) ", bare) is not None
        in_list = begins or (in_list and (not bare or line.startswith(" ")))
        code = fenced or html or (line.startswith(" " * (8 if in_list else 4)) and not paragraph)
        if paragraph and (not bare or begins or bare.startswith(("#", "|", "```"))):
            yield first, " ".join(paragraph)
            paragraph = []
        if not bare or code or bare.startswith(("```", "~~~", "<!--")):
            continue
        if bare.startswith("#"):
            yield number, bare
        elif bare.startswith("|"):
            yield from ((number, cell.strip()) for cell in bare.strip("|").split(" | ") if cell.strip(" -:|"))
        else:
            first = first if paragraph else number
            paragraph.append(re.sub(r"^([-*+]|\d+\.|>|!!!) ", "", bare))


def _paragraphs_of_source(text: str) -> Iterator[tuple[int, str]]:
    """Paragraphs of docstrings, blocks of comments, and messages: texts of three words or more."""
    tree = ast.parse(text)
    documented = {id(node) for node in _docstrings(tree)}
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) in documented:
            yield from _from_line(node.lineno, inspect.cleandoc(node.value))
        elif isinstance(node, ast.JoinedStr):
            yield from _message(node.lineno, "".join(_part(part) for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield from _message(node.lineno, node.value)
    yield from _comments(text)


def _from_line(first: int, text: str) -> Iterator[tuple[int, str]]:
    return ((first + line - 1, paragraph) for line, paragraph in _paragraphs_of_page(text))


def _docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Strings that stand alone as statements: docstrings, and those of constants and fields."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.value


def _part(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else "`value`"


def _message(line: int, text: str) -> Iterator[tuple[int, str]]:
    if len(re.findall(r"[A-Za-z]{2,} ", text)) >= 3 and not _CODE.search(text):
        yield from _from_line(line, text)


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """Comments of one block as one paragraph."""
    block: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            words = token.string.lstrip("#! ")
            if block and token.start[0] != last + 1:
                yield last, " ".join(block)
                block = []
            if not re.match(r"(type:|noqa|fmt:|mypy:|shellcheck)", words):
                block.append(words)
            last = token.start[0]
    if block:
        yield last, " ".join(block)


def _paragraphs_of_settings(text: str) -> Iterator[tuple[int, str]]:
    """Blocks of comments, each as one paragraph, and the texts of alerts. A commented setting or command is
    code and ends its block."""
    block: list[str] = []
    first = 0
    lines = [*text.splitlines(), ""]
    for number, line in enumerate(lines, 1):
        comment = re.match(r"\s*# (?! |---|shellcheck\b)(.+)", line)
        if comment:
            first = first if block else number
            block.append(comment[1])
        elif block:
            yield first, " ".join(block)
            block = []
        if not comment and (beside := re.search(r"\S\s+# (.+)", line)):
            yield number, beside[1]
        if heading := re.match(r"# --- (.+?) -+$", line):
            yield number, f"# {heading[1]}"
        if annotation := _ANNOTATION.fullmatch(line):
            yield number, _annotation(annotation["text"], annotation["indent"] + "  ", lines[number:])


def _annotation(begin: str, indent: str, later: list[str]) -> str:
    """The text of an annotation, with the deeper lines that continue it."""
    rest = itertools.takewhile(lambda line: line.startswith(indent), later)
    return " ".join([begin, *(line.strip() for line in rest)]).strip('"')


def main(arguments: list[str]) -> int:
    longest = int(arguments.pop(arguments.index("--longest") + 1)) if "--longest" in arguments else 0
    named = [(ROOT / argument).resolve() for argument in arguments if argument != "--longest"]
    chosen = [path for path in files() if not named or any(path.is_relative_to(place) for place in named)]
    sentences = [sentence for path in chosen for sentence in sentences_of(path)]
    if longest:
        for sentence in sorted(sentences, key=lambda each: -each.words)[:longest]:
            print(f"{sentence.words} words: {sentence}")
        return 0
    breaches = [(sentence, breach) for sentence in sentences for breach in sentence.breaches()]
    for sentence, breach in breaches:
        print(f"{sentence}\n    {breach}")
    print(f"{len(breaches)} breaches in {len(sentences)} sentences of {len(chosen)} files")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
