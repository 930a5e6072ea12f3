// The part of fmt that is not templates, compiled once: Debian has it in a shared library alone, on
// which no program that links the runtime shall depend, and as headers that put a copy into every
// object file, which takes most of the time of compiling a small one.

// Clang 22 does not accept as constants the format strings that fmt 10 itself uses.
#define FMT_CONSTEVAL
#include <fmt/format-inl.h>

// What fmt/format.h declares `extern template`.
template fmt::detail::thousands_sep_result<char> fmt::detail::thousands_sep_impl(locale_ref);
template char fmt::detail::decimal_point_impl(locale_ref);
template void fmt::detail::vformat_to(buffer<char>&, string_view, basic_format_args<format_context>,
                                      locale_ref);
