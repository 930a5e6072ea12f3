// The compiler's part of a program: fills in what `sinter-run` leaves empty.
#pragma once

#include "tools/program.h"

namespace sinter::tools {

void add_compiler(Program& program);

}  // namespace sinter::tools
