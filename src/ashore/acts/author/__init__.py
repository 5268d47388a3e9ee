# SPDX-License-Identifier: Apache-2.0
"""Stories of authors: from a folder to an image, and what new machines are told."""
