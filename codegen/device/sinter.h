// The kernel library. Generated phases include this and nothing else.
#pragma once

#include "cpu/attention.h"
#include "cpu/embed.h"
#include "cpu/matmul.h"
#include "cpu/rows.h"
#include "phase.h"
