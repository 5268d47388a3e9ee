# SPDX-License-Identifier: Apache-2.0
"""What is run from the checkout and is no part of the program."""
