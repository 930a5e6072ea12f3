// Prints the checksum of an object that holds a kernel that does nothing: the cheapest use of the
// cache of objects.
#include <fmt/format.h>

#include <cstdio>

#include "codegen/compile/object_cache.h"
#include "runtime/plan/checksum.h"

int main() {
  const auto object = sinter::codegen::compile_shared(
      "#include \"sinter.h\"\nSINTER_PHASE(nothing) { (void)launch; }\n",
      sinter::codegen::targets().front());
  if (!object.ok()) {
    fmt::print(stderr, "{}\n", std::string(object.status().message()));
    return 2;
  }
  fmt::print("{:016x}\n", sinter::runtime::checksum_of(*object));
  return 0;
}
