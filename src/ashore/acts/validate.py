# SPDX-License-Identifier: Apache-2.0
"""``validate`` of [[files]]: the host's own tools must accept a staged file before it is swapped in."""

import os
import tempfile

from ashore.acts.tools import Tools
from ashore.errors import AshoreError, Issue, UnchangedError
from ashore.mechanisms import process
from ashore.mechanisms.staging import Staging
from ashore.nouns.files import shown
from ashore.nouns.journal import Staged
from ashore.nouns.plan import Plan

_SECONDS = 30.0


def validate(tools: Tools, staging: Staging, staged: Staged, plan: Plan) -> None:
    """Run every validator of a changed path. On an offline root nothing is run: it has no running system.

    Raises:
        UnchangedError: all that were refused.
    """
    if not tools.live:
        return
    issues: list[Issue] = []
    for step in staged.steps:
        argv = plan.validators.get(step.step.path)
        if not argv or not step.inode:
            continue
        staged_path = os.path.join(tools.host.root, staging.areas[step.area].path, step.name)
        # Under its own name: some tools go by it (systemd-analyze verify x.service).
        with tempfile.TemporaryDirectory(prefix="ashore-") as folder:
            named = os.path.join(folder, os.path.basename(step.step.path))
            os.symlink(staged_path, named)
            try:
                process.run([part.replace("{path}", named) for part in argv], seconds=_SECONDS)
            except AshoreError as error:
                issues.append(Issue(where=shown(step.step.path), message=str(error)))
    if issues:
        raise UnchangedError("a validator refused the new content; nothing was changed", issues=issues)
