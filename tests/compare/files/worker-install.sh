#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The installer script of 2015, as published, with the names of this job; `ip` for `ifconfig`, and --pid for
# nsenter, without which systemctl finds no bus on today's systemd.
set -e

WORKER_ROOT=/worker-root
COREOS_ROOT=/rootfs

NSENTER="nsenter --mount=${COREOS_ROOT}/proc/1/ns/mnt --pid=${COREOS_ROOT}/proc/1/ns/pid -- "
SYSTEM_CTRL="$NSENTER /usr/bin/systemctl"

function render_template () {
    eval "echo \"$(cat $1)\""
}

function get_ip () {
    echo $($NSENTER /usr/sbin/ip -4 -o address show $1 | awk '{sub("/.*", "", $4); print $4}')
}

# These variables are used when render_template is called
PUBLIC_IP=$(get_ip eth0)

# Install /etc
cp -r $WORKER_ROOT/* $COREOS_ROOT

# Expand the variables in some of our files
for template in $TEMPLATES; do
    render_template $WORKER_ROOT/$template > $COREOS_ROOT/$template
done

# Tell systemd it has new unit files
$SYSTEM_CTRL daemon-reload

# Enable to services to start at boot
for unit in $UNITS; do $SYSTEM_CTRL enable $unit; done

# Start the services
for unit in $UNITS; do $SYSTEM_CTRL start $unit; done
