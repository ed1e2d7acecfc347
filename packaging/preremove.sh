#!/bin/sh
# Removes what Python compiled of the plugin.
set -e
cache="${DPKG_ROOT:-}/usr/share/ansible/plugins/callback/__pycache__"
rm -f "$cache"/ansible_notify.*.pyc
rmdir "$cache" 2>/dev/null || true
