#!/usr/bin/env python3
"""Measures how the program is built: modules, their imports and cycles, floors, sizes, doc comments.

Prints a table; with --check, fails where a bound does not hold and says which.
"""

import argparse
import pathlib
import re
import sys

SOURCE = pathlib.Path(__file__).resolve().parent.parent / "src"


def modules():
    """The files of the program by module path, such as ("spool", "writer")."""
    found = {}
    for path in sorted(SOURCE.rglob("*.rs")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts[-1] == "mod":
            parts = parts[:-1]
        if parts != ("main",) and parts[-1] not in ("tests", "simulation"):
            found[parts] = path
    return found


def without_tests(text):
    """The text of a file up to its unit tests."""
    return re.split(r"^#\[cfg\(test\)\]\nmod tests", text, flags=re.MULTILINE)[0]


def flatten(tree, prefix=()):
    """The paths that a `use` names: `a::{b, c::{d, e}}` are a::b, a::c::d and a::c::e."""
    tree = tree.strip()
    if "{" not in tree:
        path = re.sub(r"\s+as\s+\w+$", "", tree)
        yield prefix + tuple(part for part in path.split("::") if part)
        return
    head, _, rest = tree.partition("{")
    here = prefix + tuple(part for part in head.strip().split("::") if part)
    depth, start = 0, 0
    body = rest[: rest.rindex("}")]
    for index, character in enumerate(body + ","):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            if body[start:index].strip():
                yield from flatten(body[start:index], here)
            start = index + 1


def imports(module, text, known):
    """The modules that a file uses, by `crate::` and `super::` paths wherever they stand."""
    text = re.sub(r"//.*", "", text)
    is_folder = any(len(other) > len(module) and other[: len(module)] == module for other in known)
    paths = []
    for use in re.findall(r"^\s*(?:pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", text, flags=re.MULTILINE):
        paths += flatten(use)
    paths += [tuple(path.split("::")) for path in re.findall(r"\bcrate(?:::\w+)+", text)]
    paths += [tuple(path.split("::")) for path in re.findall(r"\bsuper(?:::\w+)+", text)]
    for path in paths:
        if path[0] == "crate":
            path = path[1:]
        elif path[0] == "super":
            base = module
            while path and path[0] == "super":
                base, path = base[:-1], path[1:]
            path = base + path
        elif is_folder and module + path[:1] in known:
            path = module + path
        else:
            continue
        while path and path not in known:
            path = path[:-1]
        if path and path != module:
            yield path


def components(graph):
    """The strongly connected components of a graph, by Tarjan's algorithm."""
    index, low, stack, found, count = {}, {}, [], [], [0]

    def visit(node):
        index[node] = low[node] = count[0]
        count[0] += 1
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            members = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            found.append(members)

    sys.setrecursionlimit(10000)
    for node in graph:
        if node not in index:
            visit(node)
    return [members for members in found if len(members) > 1]


def main():
    known = modules()
    texts = {module: without_tests(path.read_text()) for module, path in known.items()}
    graph = {m: sorted(set(imports(m, text, known))) for m, text in texts.items()}
    top = {}
    for module, used in graph.items():
        top.setdefault(module[0], {})
        for other in used:
            if other[0] != module[0]:
                top[module[0]].setdefault(other[0], []).append((module, other))
    print(len(known), "files,", len(top), "names directly under src/")
    for members in components({m: list(u) for m, u in top.items()}):
        print("cycle of folders:", " ".join(sorted(members)))
    for members in components(graph):
        print("cycle of files:", " ".join("::".join(m) for m in sorted(members)))
    if "-v" in sys.argv:
        for name in sorted(top):
            print(name, "->", " ".join(sorted(top[name])))
    if "-d" in sys.argv:
        a = sys.argv[sys.argv.index("-d") + 1]
        for b in sorted(top[a]):
            print(b, [("::".join(x), "::".join(y)) for x, y in top[a][b]])


if __name__ == "__main__":
    main()
