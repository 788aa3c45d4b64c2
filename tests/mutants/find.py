# SPDX-License-Identifier: MIT
"""Where the text that a mutant changes stands: by function and expression, wherever they moved.

A file is a row of definitions: functions, tables, structs, "#define X". White space counts
for nothing, so an expression is found however its lines are broken.
"""
import functools
import os
import re

SOURCES = ("abi", "guest", "lib")
COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'
                               r"'(?:\\.|[^'\\\n])+'", re.DOTALL)
EXTERN_C = re.compile(r"\bextern\s+{")
DIRECTIVE = re.compile(r"^[ \t]*#(?:\\\n|.)*", re.MULTILINE)
DEFINE = re.compile(r"\s*#\s*define\s+(\w+)")
FUNCTION = re.compile(r"(\w+)\s*\(")
RECORD = re.compile(r"\b((?:struct|union|enum)\s+\w+)\s*$")
VARIABLE = re.compile(r"(\w+)\s*(?:\[[^]]*\]\s*)*$")


class Gone(Exception):
    """The mutant's text is not there, or not only once."""


def blank(match):
    return re.sub(r"[^\n]", " ", match.group())


def name_of(head, ends):
    """What a definition is called; None: a declaration."""
    if ends == ";":
        return None
    for pattern in (RECORD, FUNCTION) if ends == "{" else (VARIABLE,):
        found = pattern.search(head)
        if found:
            return re.sub(r"\s+", " ", found.group(1))
    return None


def definitions(text):
    """Name, start and end of what is defined on a file's top level."""
    text = EXTERN_C.sub(blank, COMMENT_OR_STRING.sub(blank, text))
    for line in DIRECTIVE.finditer(text):
        macro = DEFINE.match(line.group())
        if macro:
            yield f"#define {macro.group(1)}", line.start(), line.end()
    text = DIRECTIVE.sub(blank, text)
    start, depth, head, body = 0, 0, None, None
    for mark in re.finditer(r"[][(){};=]", text):
        c = mark.group()
        if depth == 0 and head is None and c in "{=;":
            start += len(text[start:]) - len(text[start:].lstrip())
            head, body = text[start:mark.start()], c
        depth += (c in "([{") - (c in ")]}")
        if depth == 0 and head is not None and (c == ";" or (c == "}" and ends_here(head, body))):
            yield name_of(head, body), start, mark.end()
            start, head = mark.end(), None


def ends_here(head, body):
    """The brace that closes a function ends it; tables and structs go on to a semicolon."""
    return body == "{" and not RECORD.search(head)


def words(expression):
    """A pattern that finds the expression however it is spaced."""
    pattern, last = "", ""
    for token in re.findall(r"\w+|[^\w\s]", expression):
        joins = last and (last[-1] + token[0]).replace("_", "a").isalnum()
        pattern += (r"\s+" if joins else r"\s*" if last else "") + re.escape(token)
        last = token
    whole = (r"(?<!\w)" if re.match(r"\s*\w", expression) else "") + pattern
    return re.compile(whole + (r"(?!\w)" if re.search(r"\w\s*$", expression) else ""))


class Source:
    """A tree's source files, each read once."""

    def __init__(self, top):
        self.top = top

    @functools.lru_cache(maxsize=None)
    def text(self, path):
        try:
            with open(os.path.join(self.top, path), encoding="utf-8") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    @functools.lru_cache(maxsize=None)
    def file(self, path):
        return list(definitions(self.text(path)))

    @functools.lru_cache(maxsize=None)
    def files(self):
        return sorted(os.path.relpath(os.path.join(folder, name), self.top)
                      for where in SOURCES
                      for folder, _, names in os.walk(os.path.join(self.top, where))
                      for name in names if name.endswith((".c", ".h")))

    def bodies(self, path, function):
        return [(path, start, end) for name, start, end in self.file(path) if name == function]

    def hits(self, bodies, expression):
        pattern = words(expression)
        return [(path, m.start(), m.end()) for path, start, end in bodies
                for m in pattern.finditer(self.text(path), start, end)]

    def find(self, path, function, expression):
        """(path, start, end) of the expression; Gone, with what to look at."""
        bodies = self.bodies(path, function)
        if not bodies:
            bodies = [b for other in self.files() for b in self.bodies(other, function)]
        if not bodies:
            raise Gone(f"function {function} is gone from {path}{self.hint(expression)}")
        hits = self.hits(bodies, expression)
        if len(hits) == 1:
            return hits[0]
        if hits:
            where = ", ".join(sorted({hit[0] for hit in hits}))
            raise Gone(f"the expression stands {len(hits)} times in function {function} ({where})")
        raise Gone(f"the expression is gone from function {function} ({bodies[0][0]})"
                   f"{self.hint(expression)}")

    def hint(self, expression):
        there = [f"{name} ({path})" for path in self.files() for name, start, end in self.file(path)
                 if name and self.hits([(path, start, end)], expression)]
        return f"; it stands in {', '.join(there)}" if there else ""
