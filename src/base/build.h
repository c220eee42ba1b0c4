/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What is being built. The client alone, as routers get it, has one tunnel on one connected socket:
 * there, what data paths and sockets do for a broker only is constant-folded away.
 */
#ifndef TD_BASE_BUILD_H
#define TD_BASE_BUILD_H

#include <stddef.h>

#ifndef TD_WITH_BROKER
#define TD_WITH_BROKER 1
#endif

/* For tables of functions: what only a broker calls. */
#define TD_FOR_BROKER(function) (TD_WITH_BROKER ? (function) : NULL)

#endif
