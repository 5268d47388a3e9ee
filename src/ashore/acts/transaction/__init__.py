# SPDX-License-Identifier: Apache-2.0
"""A plan is carried out, judged, and kept or taken back."""
