# SPDX-License-Identifier: Apache-2.0
"""What is put into a template before it is compiled: looks at the clock and at sizes. No I/O.

This module imports jinja2: import it where it is needed.
"""

from jinja2 import Environment, nodes
from jinja2.visitor import NodeTransformer


class Looks(NodeTransformer):
    """Puts a look at the clock into loops, and ``~`` under the size limit."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - Jinja's names
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(self._call("tick", [], node.lineno), lineno=node.lineno))
        if node.test is not None:
            node.test = nodes.And(self._call("tick", [], node.lineno), node.test, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:  # noqa: N802
        self.generic_visit(node)
        return self._call("concat_checked", node.nodes, node.lineno)

    def _call(self, name: str, arguments: list[nodes.Expr], lineno: int) -> nodes.Call:
        target = nodes.EnvironmentAttribute(name, lineno=lineno)
        call = nodes.Call(target, arguments, [], None, None, lineno=lineno)
        call.set_environment(self.environment)
        return call
