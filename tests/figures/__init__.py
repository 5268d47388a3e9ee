# SPDX-License-Identifier: Apache-2.0
"""The figures of docs/reliability.md: every one is printed by a harness that anybody can run again."""
