#!/usr/bin/env python3
"""Measures how the program is built, and checks what is promised of it.

Prints files, cycles, the longest files and functions, and how doc comments open. With --check,
fails where a bound does not hold, and says which: a module uses only what is below it in FLOORS,
files make no cycle, SQL stays in the spool, modules and public items have doc comments, and
neither the names below src/, nor files (those of tests, too) and functions, nor odd openings of doc
comments grow beyond their bounds.
"""

import argparse
import collections
import pathlib
import re
import sys

TESTS = pathlib.Path(__file__).resolve().parent
SOURCE = TESTS.parent / "src"

# From the ground up: each may use those before it, and none behind it.
FLOORS = [
    "failpoint",
    "exit",
    "json",
    "text",
    "failure",
    "system",
    "secret",
    "console",
    "panics",
    "event",
    "template",
    "config",
    "protocol",
    "spool",
    "net",
    "message",
    "route",
    "notifier",
    "delivery",
    "cli",
    "command",
    "main",
]

MOST_NAMES = 22
MOST_LINES = 530
MOST_FUNCTION_LINES = 36
MOST_ODD_COMMENTS = 0.07
PUBLIC = re.compile(
    r"pub(?:\([^)]*\))? ((?:(?:const |async )*fn|struct|enum|trait|const|static|type) \w+)"
)
ODD_OPENING = re.compile(r"(What|Whether|How|Where|Who|That)\b")


def modules():
    """The files of the program, without unit tests, by module path: ("spool", "writer")."""
    found = {}
    for path in sorted(SOURCE.rglob("*.rs")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts[-1] == "mod":
            parts = parts[:-1]
        if parts[-1] not in ("tests", "simulation"):
            found[parts] = path
    return found


def tests():
    """The lines of each file of tests, by its name below tests/."""
    paths = [path for ending in ("rs", "py", "sh") for path in TESTS.rglob("*." + ending)]
    # An older plugin is kept as it was.
    paths = [path for path in paths if "older" not in path.parts]
    return {
        str(path.relative_to(TESTS.parent)): path.read_text().count("\n") for path in sorted(paths)
    }


def without_tests(text):
    """The text of a file without its unit tests, which stand at its end."""
    return re.split(r"^#\[cfg\(test\)\]\nmod \w+ \{", text, flags=re.MULTILINE)[0]


def flatten(tree, prefix=()):
    """The paths that a `use` names: `a::{b, c::{d, e}}` are a::b, a::c::d and a::c::e."""
    head, brace, rest = tree.strip().partition("{")
    names = re.sub(r"\s+as\s+\w+$", "", head.strip()).split("::")
    prefix += tuple(name for name in names if name)
    if not brace:
        yield prefix
        return
    depth, start = 0, 0
    body = rest[: rest.rindex("}")] + ","
    for index, character in enumerate(body):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            if body[start:index].strip():
                yield from flatten(body[start:index], prefix)
            start = index + 1


def imports(module, text, known):
    """The modules that a file uses by `crate::` and `super::`, apart from those below it."""
    text = re.sub(r"//.*", "", text)
    uses = re.findall(r"^\s*(?:pub(?:\([^)]*\))? )?use ([^;]+);", text, flags=re.MULTILINE)
    paths = [path for use in uses for path in flatten(use)]
    paths += [tuple(path.split("::")) for path in re.findall(r"\b(?:crate|super)(?:::\w+)+", text)]
    for path in paths:
        base = module
        while path and path[0] == "super":
            base, path = base[:-1], path[1:]
        if path and path[0] == "crate":
            path = path[1:]
        elif base != module:
            path = base + path
        else:
            continue
        while path and path not in known:
            path = path[:-1]
        if path and path != module and path[: len(module)] != module:
            yield path


def cycles(graph):
    """The strongly connected components of more than one node, by Tarjan's algorithm."""
    number, low, stack, found = {}, {}, [], []

    def visit(node):
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in graph[node]:
            if other not in number:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == number[node]:
            members = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(members) > 1:
                found.append(members)

    for node in graph:
        if node not in number:
            visit(node)
    return found


def functions(text):
    """The lengths of the functions of a file, in lines, as rustfmt indents them."""
    lines = text.splitlines()
    for start, line in enumerate(lines):
        begin = re.match(r"( *)(pub(\([^)]*\))? )?(const )?(async )?fn \w", line)
        if begin:
            end = next((n for n in range(start, len(lines)) if lines[n] == begin[1] + "}"), start)
            yield end - start + 1


def openings(text):
    """The first lines of the doc comments of a file."""
    before = ""
    for line in text.splitlines():
        line = line.strip()
        if re.match(r"//[/!] \S", line) and not re.match(r"//[/!]", before):
            yield line[4:]
        before = line


def undocumented(module, text):
    """The modules and public items without a doc comment. Fields and variants may do without."""
    name = "::".join(module)
    if not text.startswith("//!"):
        yield f"{name} does not begin with a doc comment"
    is_documented = False
    for line in text.splitlines():
        line = line.strip()
        item = PUBLIC.match(line)
        if item and not is_documented:
            yield f"{name}: `{item[1]}` has no doc comment"
        # Attributes may stand between the comment and its item.
        is_attribute = re.match(r"#\[|\)\]$", line)
        is_documented = line.startswith(("///", "#[doc")) or bool(is_documented and is_attribute)


def upward(graph):
    """What uses something that is not below it."""
    floor = {name: number for number, name in enumerate(FLOORS)}
    for module, used in graph.items():
        for other in used:
            if module[0] not in floor:
                yield f"{module[0]} has no floor in tests/structure.py"
            elif floor.get(other[0], -1) > floor[module[0]]:
                yield f"{'::'.join(module)} uses {'::'.join(other)}, which is above it"


def measure():
    """Prints the figures, and returns what is out of bounds."""
    known = modules()
    whole = {module: path.read_text() for module, path in known.items()}
    texts = {module: without_tests(text) for module, text in whole.items()}
    graph = {module: sorted(set(imports(module, text, known))) for module, text in texts.items()}
    names = {path.relative_to(SOURCE).parts[0] for path in known.values()}
    lengths = sorted(length for text in texts.values() for length in functions(text))
    p95 = lengths[len(lengths) * 95 // 100]
    files = sorted(((text.count("\n"), module) for module, text in whole.items()), reverse=True)
    tested = sorted(((length, name) for name, length in tests().items()), reverse=True)
    opened = [line for text in whole.values() for line in openings(text)]
    odd = sum(1 for line in opened if ODD_OPENING.match(line)) / len(opened)
    lines = sum(length for length, _ in files)
    print(f"{len(known)} files, {lines} lines, {len(names)} names below src/")
    median, longest = lengths[len(lengths) // 2], lengths[-1]
    print(f"{len(lengths)} functions: median {median}, p95 {p95}, longest {longest} lines")
    print(
        "longest files:", ", ".join(f"{'::'.join(module)} {length}" for length, module in files[:5])
    )
    print(f"{len(tested)} files of tests, {sum(length for length, _ in tested)} lines")
    print("longest of them:", ", ".join(f"{name} {length}" for length, name in tested[:5]))
    print(f"{len(opened)} doc comments, {odd:.1%} open with What, Whether, How, Where, Who or That")
    wrong = list(upward(graph))
    wrong += [
        f"cycle: {', '.join('::'.join(module) for module in sorted(cycle))}"
        for cycle in cycles(graph)
    ]
    wrong += [
        f"{'::'.join(module)} uses SQLite, which only the spool does"
        for module, text in texts.items()
        if module[0] != "spool" and re.search(r"\brusqlite::", text)
    ]
    wrong += [
        f"{'::'.join(module)} has {length} lines" for length, module in files if length > MOST_LINES
    ]
    wrong += [f"{name} has {length} lines" for length, name in tested if length > MOST_LINES]
    wrong += [line for module, text in texts.items() for line in undocumented(module, text)]
    bounds = [
        (len(names), MOST_NAMES, "names below src/"),
        (p95, MOST_FUNCTION_LINES, "lines, p95 of functions"),
    ]
    bounds += [(odd, MOST_ODD_COMMENTS, "of doc comments open oddly")]
    return wrong + [
        f"{value} {what}, at most {most}" for value, most, what in bounds if value > most
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail where a bound does not hold")
    arguments = parser.parse_args()
    wrong = measure()
    for line in collections.Counter(wrong):
        print("out of bounds:", line)
    sys.exit(1 if wrong and arguments.check else 0)


if __name__ == "__main__":
    main()
