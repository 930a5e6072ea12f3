// The kernel library. Generated phases include this and nothing else.
#pragma once

#if defined(SINTER_WAVE)
#include "gpu/attention_few.h"
#include "gpu/attention_many.h"
#include "gpu/convolution.h"
#include "gpu/delta_chunks.h"
#include "gpu/embed.h"
#include "gpu/experts.h"
#include "gpu/matmul.h"
#include "gpu/phase.h"
#include "gpu/rows.h"
#include "gpu/sample.h"
#include "gpu/scan.h"
#else
#include "cpu/attention.h"
#include "cpu/convolution.h"
#include "cpu/delta.h"
#include "cpu/embed.h"
#include "cpu/experts.h"
#include "cpu/matmul.h"
#include "cpu/phase.h"
#include "cpu/rows.h"
#include "cpu/scan.h"
#endif
