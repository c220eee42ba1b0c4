#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# Only here to be found by the configuration tests.
exit 0
