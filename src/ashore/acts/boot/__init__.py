# SPDX-License-Identifier: Apache-2.0
"""What happens without anybody at the keyboard: boots, hand-over, confirmation."""
