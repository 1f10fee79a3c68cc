#include "replicator/nbd/serve_endpoint.hpp"

#include "replicator/nbd/server.hpp"

#include <fmt/format.h>

namespace farshore::nbd {
namespace {

std::string with(std::string text, const std::string &what, const std::string &value) {
    for (std::size_t at = text.find(what); at != std::string::npos;
         at = text.find(what, at + value.size())) {
        text.replace(at, what.size(), value);
    }
    return text;
}

} // namespace

result<std::string> serve_endpoint(const std::string &serve, const std::string &group,
                                   const std::string &volume, std::size_t volumes) {
    if (volumes > 1 && !serve.empty() && serve.find("{volume}") == std::string::npos) {
        return fail(errc::invalid,
                    fmt::format("group \"{}\": serve = \"{}\" is one place for {} volumes: put "
                                "{{volume}} into it",
                                group, serve, volumes));
    }
    const std::string endpoint = with(with(serve, "{volume}", volume), "{group}", group);
    if (!endpoint.empty()) {
        FS_CHECK(parse_endpoint(endpoint));
    }
    return endpoint;
}

} // namespace farshore::nbd
