# SPDX-License-Identifier: Apache-2.0
"""systemd: units over D-Bus, services that carry a change, probes."""
