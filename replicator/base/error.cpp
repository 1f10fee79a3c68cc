#include "replicator/base/error.hpp"

namespace farshore {
namespace {

class category final : public std::error_category {
  public:
    const char *name() const noexcept override { return "farshore"; }
    std::string message(int value) const override {
        switch (static_cast<errc>(value)) {
        case errc::ok:
            return "ok";
        case errc::corrupt:
            return "the data is damaged";
        case errc::unsupported:
            return "this version does not support it";
        case errc::limit:
            return "it is beyond a limit";
        case errc::closed:
            return "it was closed";
        case errc::timeout:
            return "it timed out";
        case errc::cancelled:
            return "it was cancelled";
        case errc::not_found:
            return "it does not exist";
        case errc::busy:
            return "it is in use";
        case errc::not_trusted:
            return "the peer is not trusted";
        case errc::refused:
            return "refused because it would lose data";
        case errc::not_in_sync:
            return "not in sync";
        case errc::invalid:
            return "it is not valid";
        case errc::full:
            return "no space is left";
        case errc::dead:
            return "stopped after an earlier failure";
        case errc::mismatch:
            return "it does not match";
        }
        return "unknown error";
    }
};

} // namespace

const std::error_category &farshore_category() noexcept {
    static const category instance;
    return instance;
}

std::string error::text() const {
    if (context.empty()) {
        return code.message();
    }
    if (!code) {
        return context;
    }
    return context + ": " + code.message();
}

} // namespace farshore
