"""What a source file asks of the Python packages of ROS 2, held against a list of what they offer."""
from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from ros_api import ANY, members_of


class Api:
    """What a distribution offers.

    :param modules: as ``ros_api.modules_of`` makes them
    :param later: names of members that only later distributions have
    """

    def __init__(self, modules: dict[str, dict[str, Any]], later: set[str]) -> None:
        self.modules, self.later = modules, later
        self.packages = {name.split('.')[0] for name in modules}
        self.members = members_of(modules)

    def has(self, module: str, name: str) -> bool:
        """Whether a module has a name, or a submodule of that name."""
        return bool({name, '*'} & self.modules[module].keys()) or f'{module}.{name}' in self.modules


def defined(tree: ast.Module) -> Iterator[str]:
    """Names of functions, methods, fields and attributes that a file makes."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def missing(tree: ast.Module, api: Api) -> Iterator[str]:
    """What a file asks for that the distribution has not."""
    asked = [(module, name, alias) for module, name, alias in _imported(tree) if module.split('.')[0] in api.packages]
    used = {alias: (module, api.modules[module].get(name) if name else api.modules[module])
            for module, name, alias in asked if module in api.modules}
    may_fail = _guarded(tree)
    for module, name, _ in asked:
        if module not in api.modules and module not in may_fail:
            yield f'module {module}'
        elif module in api.modules and name and not api.has(module, name):
            yield f'{module}.{name}'
    for node in ast.walk(tree) if asked else ():
        if isinstance(node, ast.Attribute):
            yield from _missing_member(node, *used.get(ast.unparse(node.value), ('', None)), api)
        elif isinstance(node, ast.Call):
            yield from _missing_keywords(node, api)


def _imported(tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """Each import: module, name in it ('' of the module itself), and what it is called in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, '', alias.asname or alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield node.module, alias.name, alias.asname or alias.name


def _guarded(tree: ast.Module) -> set[str]:
    """Modules whose import may fail: they stand in the ``try`` of an ImportError."""
    tried = [statement for attempt in ast.walk(tree) if isinstance(attempt, ast.Try)
             and any(handler.type and 'ImportError' in ast.unparse(handler.type) for handler in attempt.handlers)
             for statement in attempt.body]
    return {module for statement in tried for module, _, _ in _imported(ast.Module([statement], []))}


def _missing_member(node: ast.Attribute, module: str, offered: Any, api: Api) -> Iterator[str]:
    """Of a module, of a class without bases, or, of an object of whatever class, a name that came later."""
    if not isinstance(offered, dict):
        if node.attr in api.later:
            yield f'a member .{node.attr}'
    elif 'members' not in offered:
        if not api.has(module, node.attr):
            yield ast.unparse(node)
    elif not offered['bases'] and not node.attr.startswith('__') and node.attr not in offered['members']:
        yield ast.unparse(node)


def _missing_keywords(node: ast.Call, api: Api) -> Iterator[str]:
    """Keywords that no function of that name takes."""
    function = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    parameters = api.members.get(function)
    if parameters and ANY not in parameters:
        for keyword in node.keywords:
            if keyword.arg and keyword.arg not in parameters:
                yield f'{function}({keyword.arg}=)'
