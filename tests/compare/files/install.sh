#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# An installer script as one writes it today: stops at errors, keeps modes, renders without eval, restarts.
set -euo pipefail

on_host() {
    nsenter --mount=/rootfs/proc/1/ns/mnt --pid=/rootfs/proc/1/ns/pid -- "$@"
}

export PUBLIC_IP
PUBLIC_IP=$(on_host /usr/sbin/ip -4 -o address show eth0 | awk '{sub("/.*", "", $4); print $4}')

cp -a --remove-destination /worker-root/. /rootfs/
for template in $TEMPLATES; do
    sed "s|\$PUBLIC_IP|$PUBLIC_IP|g" "/worker-root/$template" > "/rootfs/$template.new"
    mv "/rootfs/$template.new" "/rootfs/$template"
done

on_host /usr/bin/systemctl daemon-reload
if [ -n "$UNITS" ]; then
    # shellcheck disable=SC2086 # one word for each unit
    on_host /usr/bin/systemctl enable $UNITS
    # shellcheck disable=SC2086
    on_host /usr/bin/systemctl restart $UNITS
fi
