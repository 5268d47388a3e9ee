# SPDX-License-Identifier: Apache-2.0
"""Changed paths -> trigger runs. Value in, value out: what the host can do and holds now is passed in."""
