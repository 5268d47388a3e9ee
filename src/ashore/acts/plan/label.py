# SPDX-License-Identifier: Apache-2.0
"""What SELinux label each path will carry: the root's own policy says, of the path where a file will lie."""

from ashore.acts.tools import Tools
from ashore.errors import Issue
from ashore.mechanisms import selinux
from ashore.mechanisms.attributes import may_own
from ashore.nouns.files import shown
from ashore.nouns.plan import Action, Plan, Step
from ashore.rules.files import filecontexts
from ashore.rules.files.filecontexts import FileContexts

_MAKES = (Action.CREATE, Action.REPLACE, Action.MKDIR)


def read_labels(tools: Tools) -> FileContexts | None:
    """The policy's labels; None where the root has no policy, or we may not set any.

    Raises:
        UnchangedError: it has one that cannot be understood.
    """
    files = selinux.read_policy(tools.host) if may_own() else None
    return filecontexts.parse(files) if files is not None else None


def label_of(labels: FileContexts | None, step: Step) -> str:
    """The label of what a step makes, or its inverse makes again; empty for none."""
    entry = step.old if step.action is Action.RMDIR else step.new
    if labels is None or entry is None or step.action is Action.CHANGE_DIR:
        return ""
    return labels.label_for(step.path, entry.kind) or ""


def check_labels(tools: Tools, labels: FileContexts | None, plan: Plan) -> list[Issue]:
    """Paths without a label, where the kernel enforces: nobody but us might be able to read them."""
    if labels is None or not tools.live or not selinux.enforcing(tools.host):
        return []
    return [
        Issue(
            where=shown(step.path),
            message="SELinux is enforcing, and its policy names no label for this path",
            remedy=f"semanage fcontext -a -t TYPE {shown(step.path)}, or ship the file elsewhere",
        )
        for step in plan.steps
        if step.action in _MAKES and not label_of(labels, step)
    ]
