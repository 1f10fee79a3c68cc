#include "replicator/control/exit_code.hpp"

#include <algorithm>
#include <cerrno>

namespace farshore {
namespace {

outcome_code code_of_errno(int number) {
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return {"no_space", exit_code::failed};
    case EACCES:
    case EPERM:
    case EROFS:
        return {"not_permitted", exit_code::failed};
    case ENOENT:
        return {"no_such_file", exit_code::failed};
    case ETIMEDOUT:
        return {"timed_out", exit_code::timed_out};
    case ECANCELED:
        return {"interrupted", exit_code::interrupted};
    default:
        return {"failed", exit_code::failed};
    }
}

outcome_code code_of_errc(errc code) {
    switch (code) {
    case errc::ok:
        return {"ok", exit_code::ok};
    case errc::corrupt:
        return {"corrupt", exit_code::failed};
    case errc::unsupported:
        return {"unsupported", exit_code::failed};
    case errc::limit:
        return {"limit", exit_code::failed};
    case errc::closed:
        return {"closed", exit_code::failed};
    case errc::timeout:
        return {"timed_out", exit_code::timed_out};
    case errc::cancelled:
        return {"interrupted", exit_code::interrupted};
    case errc::not_found:
        return {"not_found", exit_code::not_found};
    case errc::busy:
        return {"busy", exit_code::busy};
    case errc::not_trusted:
        return {"not_trusted", exit_code::not_trusted};
    case errc::refused:
        return {"would_lose_data", exit_code::would_lose_data};
    case errc::not_in_sync:
        return {"not_in_sync", exit_code::not_in_sync};
    case errc::invalid:
        return {"usage", exit_code::usage};
    case errc::full:
        return {"no_space", exit_code::failed};
    case errc::dead:
        return {"failed", exit_code::failed};
    case errc::mismatch:
        return {"mismatch", exit_code::failed};
    }
    return {"failed", exit_code::failed};
}

} // namespace

outcome_code code_of(const std::error_code &code) {
    if (code.category() == farshore_category()) {
        return code_of_errc(static_cast<errc>(code.value()));
    }
    if (code.category() == std::generic_category() || code.category() == std::system_category()) {
        return code_of_errno(code.value());
    }
    return {"failed", exit_code::failed};
}

namespace {

/// A context that says all by itself ("there is no group ..."), not only names an object
/// ("/srv/a.img").
bool is_sentence(const std::string &context) { return std::ranges::count(context, ' ') >= 4; }

} // namespace

std::string message_of(const error &e) {
    // An errno always belongs to the message: it is the reason.
    return e.code.category() == farshore_category() && is_sentence(e.context) ? e.context
                                                                              : e.text();
}

control::failure failure_of(const error &e) {
    const outcome_code c = code_of(e.code);
    return {c.word, message_of(e), value_of(c.exit)};
}

control::failure usage_failure(std::string message) {
    return {"usage", std::move(message), value_of(exit_code::usage)};
}

} // namespace farshore
